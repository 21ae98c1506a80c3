//! Keys that have a new name. Files and variables with the former one stay valid.

use super::problem::Problem;
use super::source::{Node, Value};

/// The section of a key, its former name, and its name.
const RENAMED: [(&str, &str, &str); 1] = [("budget", "daily_usd", "host_day_usd")];

/// Renames the keys of a file.
pub(super) fn apply(root: &mut Node, problems: &mut Vec<Problem>) {
    for (section, former, name) in RENAMED {
        let both = root.find(&[section, name]).and(root.find(&[section, former]));
        match both {
            Some(old) => problems.push(Problem {
                origin: old.key_origin().clone(),
                key: format!("{section}.{former}"),
                message: format!("is the former name of `{name}`, which is set as well"),
                hint: Some("remove this line".to_owned()),
            }),
            None => rename(root, section, former, name),
        }
    }
}

/// Renames the keys that variables set after [`apply`]. They override the file, whatever name it uses.
pub(super) fn apply_overrides(root: &mut Node) {
    for (section, former, name) in RENAMED {
        rename(root, section, former, name);
    }
}

fn rename(root: &mut Node, section: &str, former: &str, name: &str) {
    if let Value::Table(sections) = &mut root.value
        && let Some(Node {
            value: Value::Table(keys),
            ..
        }) = sections.get_mut(section)
        && let Some(value) = keys.remove(former)
    {
        keys.insert(name.to_owned(), value);
    }
}
