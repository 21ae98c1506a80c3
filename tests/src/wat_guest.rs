//! Handwritten WAT components for what no compiler would generate: arbitrary names and schemas, odd memories and tables.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A tool as a guest declares it, valid or not.
#[derive(Clone, Debug)]
pub struct WatTool {
    pub name: String,
    pub description: String,
    pub schema: String,
}

impl WatTool {
    /// A tool that accepts any object.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            description: "Does nothing.".to_owned(),
            schema: r#"{"type":"object"}"#.to_owned(),
        }
    }
}

/// A guest with the given tools, whose `call-tool` runs `call` and then answers `done`.
#[derive(Clone, Debug)]
pub struct WatGuest {
    pub tools: Vec<WatTool>,
    /// Instructions of `call-tool`, which can use the local `$i`.
    pub call: String,
    /// Instructions of `list-tools` before it returns, which can use the local `$i`.
    pub list: String,
    /// Instructions of `cabi_realloc` before it allocates.
    pub realloc: String,
    /// Further items of the module: tables, functions, globals.
    pub items: String,
    /// Instructions of a resource's destructor. `$new` creates such a resource and `$drop` drops it.
    pub destructor: Option<String>,
    /// Whether it exports `wasi:cli/run` as well. That program exits with 0 at once.
    pub program: bool,
}

/// Wraps a core module, which exports the contract's functions under their canonical names, as a component.
pub fn component(module: Vec<u8>) -> Vec<u8> {
    component_of(
        module,
        "package test:guest; world guest { export cofferdam:tool/tools@0.1.0; }",
    )
}

fn component_of(module: Vec<u8>, wit: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve
        .push_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit/0.1.0"))
        .unwrap();
    encode(module, resolve, wit)
}

/// Makes a component of a core module with the types of `wit`, whose world is `guest`. `resolve` has the packages that it uses.
pub(crate) fn encode(mut module: Vec<u8>, mut resolve: Resolve, wit: &str) -> Vec<u8> {
    let package = resolve.push_str("guest.wit", wit).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .unwrap()
        .encode()
        .unwrap()
}

/// Offset of the texts in memory, after the results.
const TEXT: usize = 64;
const PAGE: usize = 65_536;

impl WatGuest {
    pub fn new(tools: impl IntoIterator<Item = WatTool>) -> Self {
        Self {
            tools: tools.into_iter().collect(),
            call: String::new(),
            list: String::new(),
            realloc: String::new(),
            items: String::new(),
            destructor: None,
            program: false,
        }
    }

    pub fn named(name: &str) -> Self {
        Self::new([WatTool::named(name)])
    }

    pub fn call(mut self, instructions: &str) -> Self {
        self.call = instructions.to_owned();
        self
    }

    pub fn list(mut self, instructions: &str) -> Self {
        self.list = instructions.to_owned();
        self
    }

    pub fn realloc(mut self, instructions: &str) -> Self {
        self.realloc = instructions.to_owned();
        self
    }

    pub fn items(mut self, items: &str) -> Self {
        self.items = items.to_owned();
        self
    }

    pub fn destructor(mut self, instructions: &str) -> Self {
        self.destructor = Some(instructions.to_owned());
        self
    }

    pub fn program(mut self) -> Self {
        self.program = true;
        self.items(r#"(func (export "wasi:cli/run@0.2.6#run") (result i32) (i32.const 0))"#)
    }

    /// Builds the component.
    pub fn build(&self) -> Vec<u8> {
        let module = wat::parse_str(self.module()).unwrap();
        match self.destructor {
            None if self.program => component_of(
                module,
                "package test:guest; world guest { export wasi:cli/run@0.2.6; export cofferdam:tool/tools@0.1.0; } package wasi:cli@0.2.6 { interface run { run: func() -> result; } }",
            ),
            None => component(module),
            Some(_) => component_of(
                module,
                "package test:guest; interface things { resource thing; } world guest { export things; export cofferdam:tool/tools@0.1.0; }",
            ),
        }
    }

    /// The core module. Memory layout: the result of `list-tools` at 0, that of `call-tool` at 16, then texts and records.
    fn module(&self) -> String {
        let mut memory = vec![0_u8; TEXT];
        let mut place = |text: &str| {
            let at = memory.len();
            memory.extend_from_slice(text.as_bytes());
            [at, text.len()].map(|number| u32::try_from(number).unwrap())
        };
        let done = place("done");
        let records: Vec<[u32; 7]> = self
            .tools
            .iter()
            .map(|tool| {
                let [name, name_len] = place(&tool.name);
                let [description, description_len] = place(&tool.description);
                let [schema, schema_len] = place(&tool.schema);
                [name, name_len, description, description_len, schema, schema_len, 0]
            })
            .collect();
        memory.resize(memory.len().next_multiple_of(8), 0);
        let list = u32::try_from(memory.len()).unwrap();
        memory.extend(records.iter().flatten().flat_map(|word| word.to_le_bytes()));
        // The content variant `text`: its tag, then pointer and length.
        memory.resize(memory.len().next_multiple_of(8), 0);
        let content = u32::try_from(memory.len()).unwrap();
        memory.extend(
            [0, done[0], done[1], 0, 0]
                .iter()
                .flat_map(|word: &u32| word.to_le_bytes()),
        );
        // Results: the tag `ok`, then pointer and length, aligned to 4 for `list-tools` and to 8 for `call-tool`.
        let mut write = |at: usize, words: &[u32]| {
            for (index, word) in words.iter().enumerate() {
                memory[at + index * 4..][..4].copy_from_slice(&word.to_le_bytes());
            }
        };
        write(0, &[0, list, u32::try_from(records.len()).unwrap()]);
        write(16, &[0, 0, content, 1]);
        let data: String = memory.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let pages = memory.len().div_ceil(PAGE) + 1;
        let heap = (pages - 1) * PAGE;
        let Self {
            call,
            list,
            realloc,
            items,
            ..
        } = self;
        let (resource, destructor) = match &self.destructor {
            None => (String::new(), String::new()),
            Some(destructor) => (
                r#"(import "[export]test:guest/things" "[resource-new]thing" (func $new (param i32) (result i32)))
                (import "[export]test:guest/things" "[resource-drop]thing" (func $drop (param i32)))"#
                    .to_owned(),
                format!(r#"(func (export "test:guest/things#[dtor]thing") (param i32) {destructor})"#),
            ),
        };
        format!(
            r#"(module
                {resource}
                {destructor}
                (memory (export "memory") {pages})
                {items}
                (data (i32.const 0) "{data}")
                (global $heap (mut i32) (i32.const {heap}))
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                    (local $at i32)
                    {realloc}
                    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
                    (global.set $heap (i32.add (local.get $at) (local.get 3)))
                    (block $fits
                        (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
                        (drop (memory.grow (i32.add (i32.const 1) (i32.div_u (local.get 3) (i32.const 65536))))))
                    (local.get $at))
                (func (export "cofferdam:tool/tools@0.1.0#list-tools") (result i32) (local $i i32)
                    {list}
                    (i32.const 0))
                (func (export "cofferdam:tool/tools@0.1.0#call-tool") (param i32 i32 i32 i32) (result i32) (local $i i32)
                    {call}
                    (i32.const 16)))"#
        )
    }
}
