#![allow(clippy::unwrap_used)]

use std::cell::RefCell;

use notes::{Book, Draft, Priority, Problem, Store};

#[derive(Default)]
struct Memory(RefCell<Vec<(String, Vec<u8>)>>);

impl Store for Memory {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        let found = self.0.borrow().iter().find(|(own, _)| own == key).cloned();
        Ok(found.map(|(_, value)| value))
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        self.delete(key)?;
        self.0.borrow_mut().push((key.to_owned(), value.to_owned()));
        Ok(())
    }

    fn delete(&self, key: &str) -> Result<(), String> {
        self.0.borrow_mut().retain(|(own, _)| own != key);
        Ok(())
    }

    fn keys(&self) -> Result<Vec<String>, String> {
        Ok(self.0.borrow().iter().map(|(key, _)| key.clone()).collect())
    }
}

fn draft(title: &str, tags: &[&str]) -> Draft {
    Draft {
        title: title.to_owned(),
        text: format!("About {title}."),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        priority: Priority::High,
    }
}

#[test]
fn notes_are_kept_found_and_deleted() {
    let book = Book(Memory::default());
    let first = book.add(7, draft("Milk", &["shopping"])).unwrap();
    let second = book.add(7, draft("Bread and Butter", &["shopping", "home"])).unwrap();
    let third = book.add(9, draft("Taxes", &[])).unwrap();
    assert_eq!(
        (first.id, second.id, third.id),
        (7, 8, 9),
        "an id that is taken isn't overwritten"
    );
    assert_eq!(
        book.list(None, None).unwrap(),
        [first.clone(), second.clone(), third.clone()]
    );
    assert_eq!(
        book.list(Some("shopping"), Some(1)).unwrap(),
        std::slice::from_ref(&second),
        "the newest"
    );
    assert_eq!(
        book.search("BUTTER about", None).unwrap(),
        std::slice::from_ref(&second)
    );
    assert_eq!(book.search("home", None).unwrap(), [second]);
    assert_eq!(book.search("nothing", None).unwrap(), []);
    book.delete(7).unwrap();
    assert_eq!(book.delete(7), Err(Problem::NotFound(7)));
    assert_eq!(book.list(None, None).unwrap().len(), 2);
}

#[test]
fn what_is_wrong_is_said() {
    let book = Book(Memory::default());
    let is_invalid = |draft| matches!(book.add(1, draft), Err(Problem::InvalidInput(_)));
    assert!(
        is_invalid(draft(" ", &[])) && is_invalid(draft(&"x".repeat(201), &[])) && is_invalid(draft("x", &["t"; 21]))
    );
    assert!(matches!(book.search(" ", None), Err(Problem::InvalidInput(_))));
    book.0.set("other", b"not a note").unwrap();
    book.0.set("note/5", b"{}").unwrap();
    assert_eq!(
        book.list(None, None).unwrap(),
        [],
        "entries that aren't notes are skipped"
    );
}
