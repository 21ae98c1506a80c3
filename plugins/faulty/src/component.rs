//! The component: implements the contract with the catalog.

wit_bindgen::generate!({ path: "../../wit/0.1.0", world: "plugin" });

use exports::cofferdam::tool::tools::{Content, Error, Guest, Tool};

struct Faulty;

export!(Faulty);

impl Guest for Faulty {
    fn list_tools() -> Result<Vec<Tool>, String> {
        crate::listing::list()
    }

    fn call_tool(name: String, input: String) -> Result<Vec<Content>, Error> {
        let misdeed = crate::catalog::MISDEEDS.iter().find(|misdeed| misdeed.name == name);
        let misdeed = misdeed.ok_or_else(|| Error::Failed(format!("there is no tool `{name}` here")))?;
        let input = serde_json::from_str(&input).map_err(|error| Error::InvalidInput(error.to_string()))?;
        (misdeed.run)(&input)
    }
}
