//! The files that go with the next prompt.

use super::Conversation;
use crate::cli::live::print_unsaved;
use crate::cli::{CliError, attach};
use crate::transcript::Attachment;

impl Conversation<'_> {
    /// Sends files with the next prompt.
    pub fn attach(&mut self, files: &str) -> Result<(), CliError> {
        for path in attach::paths(files) {
            let Some(attachment) = attach::read(&path, &self.attachments)? else {
                self.cx.stderr.line(&attach::already(&path));
                continue;
            };
            let described = attach::describe(&attachment);
            self.cx.stderr.line(&format!("{described} goes with the next prompt."));
            self.attachments.push(attachment);
        }
        Ok(())
    }

    pub fn list_attachments(&self) {
        if self.attachments.is_empty() {
            self.cx
                .stderr
                .line("Nothing is attached. `/attach FILE` sends a file with the next prompt.");
        }
        for attachment in &self.attachments {
            let described = attach::describe(attachment);
            self.cx.stderr.line(&format!("{described} goes with the next prompt."));
        }
    }

    /// Sends files no more, or none. If one of them isn't attached, all stay.
    pub async fn detach(&mut self, files: Option<&str>) -> Result<(), CliError> {
        let mut positions: Vec<usize> = match files {
            None => (0..self.attachments.len()).collect(),
            Some(files) => self.attached(files)?,
        };
        positions.sort_unstable();
        positions.dedup();
        if positions.is_empty() {
            self.cx.stderr.line("Nothing is attached.");
        }
        let mut names = Vec::new();
        for position in positions.into_iter().rev() {
            let removed = self.attachments.remove(position);
            self.left_attachments -= usize::from(position < self.left_attachments);
            let described = attach::describe(&removed);
            self.cx.stderr.line(&format!("{described} isn't attached any more."));
            names.push(removed.name);
        }
        for attachment in self.attachments.iter().filter(|left| names.contains(&left.name)) {
            let described = attach::describe(attachment);
            self.cx.stderr.line(&format!(
                "Another file of this name still goes with the next prompt: {described}."
            ));
        }
        // What the session keeps of the last prompt.
        if let Some((_, before)) = self.session.unanswered() {
            let is_attached = |attachment: &&Attachment| self.attachments.contains(attachment);
            let kept: Vec<Attachment> = before.iter().copied().filter(is_attached).cloned().collect();
            if kept.len() < before.len() {
                print_unsaved(self.cx, self.session.keep_draft(None, &kept).await.as_ref());
            }
        }
        Ok(())
    }

    /// The positions of attachments that are named in a line, by one name or as a shell reads words.
    fn attached(&self, files: &str) -> Result<Vec<usize>, CliError> {
        let find = |name: &str| self.attachments.iter().rposition(|attachment| attachment.name == name);
        if let Some(position) = find(files) {
            return Ok(vec![position]);
        }
        let paths = attach::paths(files);
        let positions = paths.iter().map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            find(&name).ok_or_else(|| {
                CliError::usage(
                    format!("`{}` isn't attached", path.display()),
                    "`/attach` lists what is, and `/detach` without a name removes all of it",
                )
            })
        });
        positions.collect()
    }

    /// What another prompt gets of the last one.
    pub(super) fn and_its_files(&self) -> String {
        let files: Vec<String> = self.attachments.iter().map(attach::describe).collect();
        match files.is_empty() {
            true => String::new(),
            false => format!(", and gets its files: {}", files.join(", ")),
        }
    }

    /// A sentence about the files that go with the next prompt, if there are any.
    pub(super) const fn still_attached(&self) -> &'static str {
        match self.attachments.is_empty() {
            true => "",
            false => " What was attached stays so.",
        }
    }

    /// Names the files that were never sent, for no session keeps them.
    pub(super) fn note_unsent(&self) {
        let kept = match self.session.unanswered() {
            Some((_, attached)) if self.session.is_kept() && !self.is_elsewhere() => attached,
            _ => Vec::new(),
        };
        let is_lost = |file: &&Attachment| !kept.contains(file) && !self.kept_attachments.contains(file);
        let lost = self.attachments.iter().filter(is_lost);
        let lost: Vec<String> = lost.map(attach::describe).collect();
        if !lost.is_empty() {
            self.cx
                .note(&format!("Not answered, and not kept: {}.", lost.join(", ")));
        }
    }
}
