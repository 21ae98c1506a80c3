//! Reads the cases of `corpus.toml`.

use cofferdam_tests::{WatGuest, WatTool};

use crate::bytes;

pub(crate) struct Case {
    pub(crate) name: String,
    /// The misbehaving tool.
    pub(crate) tool: String,
    pub(crate) inputs: Vec<String>,
    pub(crate) plugin: String,
    /// Any of these outcomes is accepted.
    pub(crate) outcomes: Vec<String>,
    pub(crate) load: bool,
    pub(crate) says: String,
    pub(crate) hides: Option<String>,
    pub(crate) answers: Option<String>,
    component: Option<Vec<u8>>,
}

impl Case {
    /// The bytes of the case's component. `None`: `builtin:faulty`.
    pub(crate) fn component(&self) -> Option<&[u8]> {
        self.component.as_deref()
    }

    pub(crate) fn of_bytes(name: &str, component: Vec<u8>) -> Self {
        Self {
            name: name.to_owned(),
            tool: String::new(),
            inputs: Vec::new(),
            plugin: "limits = { timeout = '1s', fuel = 100_000_000 }".to_owned(),
            outcomes: Vec::new(),
            load: false,
            says: String::new(),
            hides: None,
            answers: None,
            component: Some(component),
        }
    }

    fn of(table: &toml::Table) -> Self {
        const KEYS: [&str; 12] = [
            "name", "tool", "inputs", "wat", "bytes", "plugin", "outcome", "also", "load", "says", "hides", "answers",
        ];
        let name = table["name"].as_str().unwrap().to_owned();
        for key in table.keys() {
            assert!(KEYS.contains(&key.as_str()), "{name}: unknown key `{key}`");
        }
        let text = |key: &str| table.get(key).map(|value| value.as_str().unwrap().to_owned());
        let wat = table.get("wat").map(|wat| wat.as_table().unwrap());
        let inputs = table.get("inputs").map(|inputs| inputs.as_array().unwrap());
        let inputs = inputs.map(|inputs| inputs.iter().map(|input| input.as_str().unwrap().to_owned()).collect());
        let load = table.get("load").is_some_and(|load| load.as_bool().unwrap());
        let outcomes: Vec<String> = [text("outcome"), text("also")].into_iter().flatten().collect();
        assert_ne!(load, !outcomes.is_empty(), "{name}: either an outcome or `load = true`");
        let component = wat.map(guest).or_else(|| text("bytes").map(|how| bytes::spoiled(&how)));
        Self {
            tool: text("tool").unwrap_or_else(|| "misdeed".to_owned()),
            inputs: inputs.unwrap_or_else(|| vec!["{}".to_owned()]),
            plugin: text("plugin").unwrap_or_default(),
            says: text("says").unwrap_or_default(),
            hides: text("hides"),
            answers: text("answers"),
            name,
            outcomes,
            load,
            component,
        }
    }
}

fn guest(wat: &toml::Table) -> Vec<u8> {
    let text = |key: &str| wat.get(key).map(|value| value.as_str().unwrap()).unwrap_or_default();
    for key in wat.keys() {
        assert!(
            ["call", "list", "realloc", "items", "schema", "destructor", "tools"].contains(&key.as_str()),
            "unknown key `{key}` of `wat`"
        );
    }
    let mut tool = WatTool::named("misdeed");
    if wat.contains_key("schema") {
        tool.schema = text("schema").to_owned();
    }
    let tools: usize = text("tools").parse().unwrap_or(1);
    let numbered = (1..tools).map(|number| WatTool::named(&format!("misdeed_{number}")));
    let guest = WatGuest::new(std::iter::once(tool).chain(numbered))
        .call(text("call"))
        .list(text("list"))
        .realloc(text("realloc"))
        .items(text("items"));
    match wat.contains_key("destructor") {
        true => guest.destructor(text("destructor")).build(),
        false => guest.build(),
    }
}

pub(crate) fn read() -> Vec<Case> {
    let corpus: toml::Table = include_str!("corpus.toml").parse().unwrap();
    let cases = corpus["case"].as_array().unwrap();
    cases.iter().map(|case| Case::of(case.as_table().unwrap())).collect()
}
