#![allow(clippy::unwrap_used)]

use wasm_encoder::{ComponentSection as _, RawSection};

use super::cost::{
    ADAPTER, CANONICAL, COMPONENT_INSTANCE, CORE_INSTANCE, DATA_SEGMENT, FUNCTION_REFERENCE, GLOBAL, IMPORT, MEMORY,
    PASSIVE_ELEMENT, PASSIVE_SEGMENT, TABLE, TYPE,
};
use super::*;

fn read(component: &str) -> Footprint {
    footprint(&wat::parse_str(component).unwrap()).unwrap()
}

/// The cost of an instance, less the cost of an empty component.
fn beyond_empty(component: &str) -> Cost {
    let empty = read("(component)").instance;
    let all = read(component).instance;
    Cost {
        held: all.held - empty.held,
        copied: all.copied,
        steps: all.steps - empty.steps,
        core_instances: all.core_instances,
        component_instances: all.component_instances - empty.component_instances,
    }
}

/// The cost of one instance of a module with these fields, less the cost of an empty module.
fn module(fields: &str) -> Cost {
    let one = beyond_empty(&format!(
        "(component (core module $m {fields}) (core instance (instantiate $m)))"
    ));
    assert_eq!(one.core_instances, 1);
    Cost {
        held: one.held - CORE_INSTANCE.held,
        steps: one.steps - CORE_INSTANCE.steps,
        core_instances: 0,
        ..one
    }
}

fn held(held: u64, steps: u64) -> Cost {
    Cost {
        held,
        steps,
        ..Cost::ZERO
    }
}

fn copied(copied: u64) -> Cost {
    Cost { copied, ..Cost::ZERO }
}

fn sum(costs: &[Cost]) -> Cost {
    let mut sum = Cost::ZERO;
    for cost in costs {
        sum.add(*cost);
    }
    sum
}

#[test]
fn an_empty_module_and_an_empty_component_have_a_cost() {
    assert_eq!(module(""), Cost::ZERO);
    let nested = beyond_empty("(component (component $c) (instance (instantiate $c)) (instance (instantiate $c)))");
    assert_eq!(nested, COMPONENT_INSTANCE.times(2));
    assert_eq!(read("(component)").instance.component_instances, 1);
}

#[test]
fn definitions_that_are_not_instantiated_cost_nothing() {
    let defined = beyond_empty("(component (core module (memory 1) (func)) (component (core module)))");
    assert_eq!(defined, Cost::ZERO);
}

#[test]
fn globals_tables_and_memories_are_records() {
    assert_eq!(module("(memory 1) (memory 1)"), Cost::of(2, MEMORY));
    assert_eq!(module("(table 9 funcref)"), Cost::of(1, TABLE));
    let globals = "(global i32 (i32.const 1))".repeat(9);
    assert_eq!(module(&globals), Cost::of(9, GLOBAL));
}

#[test]
fn a_long_expression_takes_steps() {
    let long = "(i32.add (i32.const 1) ".repeat(100) + "(i32.const 1)" + &")".repeat(100);
    let cost = module(&format!("(global i32 {long})"));
    assert_eq!(cost.held, GLOBAL);
    assert!(cost.steps > 30, "{cost:?}");
}

#[test]
fn functions_count_where_they_can_be_referred_to() {
    let functions = "(func)".repeat(1_000);
    assert_eq!(module(&functions), Cost::ZERO);
    assert_eq!(
        module(&format!("{functions} (export \"a\" (func 0)) (export \"b\" (func 1))")),
        held(2 * FUNCTION_REFERENCE, 0)
    );
    assert_eq!(
        module(&format!("{functions} (elem declare func 0 1 2)")),
        held(3 * FUNCTION_REFERENCE, 0)
    );
    let reference = "(global funcref (ref.func $f))";
    assert_eq!(
        module(&format!("(func $f) {}", reference.repeat(5))),
        held(FUNCTION_REFERENCE + 5 * GLOBAL, 5)
    );
}

#[test]
fn passive_segments_of_elements_are_copied_for_each_instance() {
    let empty = r#"(elem funcref)"#.repeat(100);
    assert_eq!(module(&empty), Cost::of(100, PASSIVE_SEGMENT));
    let three = [
        Cost::of(1, PASSIVE_SEGMENT),
        Cost::of(3, PASSIVE_ELEMENT),
        held(FUNCTION_REFERENCE, 0),
    ];
    assert_eq!(module("(func $f) (elem func $f $f $f)"), sum(&three));
    let null = "(elem funcref (ref.null func) (ref.null func))";
    assert_eq!(
        module(null),
        sum(&[Cost::of(1, PASSIVE_SEGMENT), Cost::of(2, PASSIVE_ELEMENT)])
    );
}

#[test]
fn active_segments_of_elements_are_written_one_by_one() {
    let one = [
        Cost::of(1, TABLE),
        held(FUNCTION_REFERENCE, 4),
        copied(3 * TABLE_ELEMENT as u64),
    ];
    assert_eq!(
        module("(table 4 funcref) (func $f) (elem (i32.const 0) func $f $f $f)"),
        sum(&one)
    );
}

#[test]
fn active_data_is_copied_and_passive_data_is_not() {
    let data = "x".repeat(1_000);
    let active = [Cost::of(1, MEMORY), Cost::of(1, DATA_SEGMENT), copied(1_000)];
    assert_eq!(
        module(&format!(r#"(memory 1) (data (i32.const 0) "{data}")"#)),
        sum(&active)
    );
    assert_eq!(module(&format!(r#"(data "{data}")"#)), Cost::of(1, DATA_SEGMENT));
}

#[test]
fn a_table_that_is_filled_takes_steps() {
    let cost = module("(func $f) (table 8000 funcref (ref.func $f))");
    assert_eq!(cost, held(TABLE + FUNCTION_REFERENCE, 1 + 1_000));
}

#[test]
fn imports_count() {
    let imports = r#"(import "m" "f" (func)) (import "m" "g" (global i32)) (import "m" "t" (table 0 funcref))"#;
    let cost = beyond_empty(&format!(
        r#"(component
            (core module $a (func (export "f")) (global (export "g") i32 (i32.const 0)) (table (export "t") 0 funcref))
            (core instance $i (instantiate $a))
            (core module $b {imports})
            (core instance (instantiate $b (with "m" (instance $i)))))"#
    ));
    let expected = [
        CORE_INSTANCE.times(2),
        Cost::of(1, GLOBAL),
        Cost::of(1, TABLE),
        held(FUNCTION_REFERENCE, 0),
        Cost::of(3, IMPORT),
    ];
    assert_eq!(cost, sum(&expected));
}

#[test]
fn functions_of_the_canonical_abi_and_resources_count() {
    let drops = "(core func (canon resource.drop $r))".repeat(9);
    let cost = beyond_empty(&format!("(component (type $r (resource (rep i32))) {drops})"));
    assert_eq!(cost, sum(&[Cost::of(1, TYPE), Cost::of(9, CANONICAL)]));
}

#[test]
fn a_function_of_another_component_takes_more_than_one_of_the_host() {
    let of_the_host = r#"(component
        (import "i" (instance $i (export "f" (func))))
        (alias export $i "f" (func $f))
        (core func (canon lower (func $f))))"#;
    let cost = beyond_empty(of_the_host);
    // The instance's type counts as well.
    assert_eq!(cost, sum(&[Cost::of(1, TYPE), Cost::of(1, CANONICAL)]));
    let of_a_component = r#"(component
        (component $c
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func (export "f") (canon lift (core func $i "f"))))
        (instance $i (instantiate $c))
        (core func (canon lower (func $i "f"))))"#;
    let cost = beyond_empty(of_a_component);
    let expected = [
        COMPONENT_INSTANCE,
        CORE_INSTANCE,
        held(FUNCTION_REFERENCE, 0),
        Cost::of(1, TYPE),
        Cost::of(2, CANONICAL),
        ADAPTER,
    ];
    assert_eq!(cost, sum(&expected));
}

/// Nests `layers` of components, each with ten instances of the one inside.
fn layers(innermost: &str, layers: usize) -> String {
    let mut text = format!("(component $c0 {innermost})");
    for layer in 1..=layers {
        let ten = "(instance (instantiate $c))".repeat(10);
        let below = layer - 1;
        text.push_str(&format!(
            "(component $c{layer} (alias outer 1 $c{below} (component $c)) {ten})"
        ));
    }
    format!("(component {text} (instance (instantiate $c{layers})))")
}

#[test]
fn nested_components_multiply() {
    let cost = beyond_empty(&layers(
        "(core module $m (memory 1)) (core instance (instantiate $m))",
        2,
    ));
    let expected = [
        COMPONENT_INSTANCE.times(111),
        CORE_INSTANCE.times(100),
        Cost::of(100, MEMORY),
    ];
    assert_eq!(cost, sum(&expected));
}

#[test]
fn counts_saturate() {
    let read = read(&layers("", 30));
    assert_eq!(read.instance.component_instances, u64::MAX);
    assert_eq!(read.instance.held, u64::MAX);
}

#[test]
fn an_imported_module_counts_as_the_largest() {
    let cost = beyond_empty(
        r#"(component
        (component $a (import "m" (core module $n)) (core instance (instantiate $n)) (core instance (instantiate $n)))
        (core module $small)
        (core module $m (memory 1))
        (instance (instantiate $a (with "m" (core module $small)))))"#,
    );
    let expected = [COMPONENT_INSTANCE, CORE_INSTANCE.times(2), Cost::of(2, MEMORY)];
    assert_eq!(cost, sum(&expected));
}

#[test]
fn instantiating_an_imported_component_is_refused() {
    let read = read(
        r#"(component
        (component $a (import "c" (component $n)) (instance (instantiate $n)))
        (component $c)
        (instance (instantiate $a (with "c" (component $c)))))"#,
    );
    let error = read.check(&Limits::default()).unwrap_err();
    assert!(matches!(error, ComponentError::UncountableInstance), "{error}");
}

#[test]
fn images_count_once_for_each_module_even_without_instances() {
    let images = |fields: &str| read(&format!("(component (core module {fields}) (core module {fields}))")).images;
    assert_eq!(images("(memory 1)"), 0);
    assert_eq!(images("(table 1000000 funcref)"), 0);
    let far_apart = r#"(memory 300) (data (i32.const 0) "x") (data (i32.const 10000000) "y")"#;
    assert_eq!(images(far_apart), 2 * 10_000_001);
    let too_far_apart = r#"(memory 300) (data (i32.const 0) "x") (data (i32.const 17000000) "y")"#;
    assert_eq!(images(too_far_apart), 0);
    let one_element = "(table 1000000 funcref) (func $f) (elem (i32.const 999999) func $f)";
    assert_eq!(images(one_element), 2 * 8_000_000);
    assert_eq!(images("(func $f) (table 1000000 funcref (ref.func $f))"), 2 * 8_000_000);
}

#[test]
fn each_figure_has_its_limit() {
    let limits = Limits {
        memory: 2 << 20,
        core_instances: 4,
        ..Limits::default()
    };
    let check = |component: &str| read(component).check(&limits).map_err(|error| error.to_string());
    let expect = |component: &str, says: &str| {
        let error = check(component).unwrap_err();
        assert!(error.contains(says), "{error}");
    };
    let instances = |fields: &str, count: usize| {
        let instances = "(core instance (instantiate $m))".repeat(count);
        format!("(component (core module $m {fields}) {instances})")
    };
    assert_eq!(check(&instances("", 4)), Ok(()));
    expect(&instances("", 5), "core_instances");
    assert_eq!(check(&layers("", 2)), Ok(()));
    expect(&layers("", 3), "nested components");
    expect(&instances(&"(elem funcref)".repeat(20_000), 2), "memory");
    expect(
        &instances(
            &format!(r#"(memory 9) (data (i32.const 0) "{}")"#, "x".repeat(800_000)),
            3,
        ),
        "memory",
    );
    expect(
        &instances(
            &format!(
                "(table 1 funcref) (func $f) {}",
                "(elem (i32.const 0) func $f)".repeat(40_000)
            ),
            4,
        ),
        "steps",
    );
    expect(
        r#"(component (core module (memory 300) (data (i32.const 0) "x") (data (i32.const 10000000) "y")))"#,
        "start with",
    );
}

#[test]
fn bytes_that_are_not_a_component_are_an_error_or_cost_nothing() {
    assert!(footprint(b"\0asm\x0d\0\x01\0\xff").is_err());
    assert_eq!(
        footprint(&wat::parse_str("(module)").unwrap()).unwrap(),
        Footprint::default()
    );
    // Types nested deeper than any stack.
    let mut deep = b"\0asm\x0d\0\x01\0".to_vec();
    let types = [&[1][..], &[0x41, 0x01, 0x01].repeat(1_000_000)].concat();
    RawSection { id: 7, data: &types }.append_to_component(&mut deep);
    assert_eq!(footprint(&deep).unwrap().instance.core_instances, 0);
    // More definitions than the limit.
    let component = [
        b"\0asm\x0d\0\x01\0".as_slice(),
        &[4, 8, 0, b'a', b's', b'm', 0x0d, 0, 1, 0].repeat(100_001),
    ]
    .concat();
    assert!(matches!(footprint(&component), Err(Unreadable::TooManyDefinitions)));
}
