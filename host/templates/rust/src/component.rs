//! Connects the logic with the functions of `wit/world.wit`.

wit_bindgen::generate!({ path: "wit", world: "tool" });

struct Component;
export!(Component);

impl Guest for Component {
    fn count_letter(text: String, letter: String) -> Result<u32, String> {
        crate::count_letter(&text, &letter)
    }
}
