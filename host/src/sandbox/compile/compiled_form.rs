//! Limits the description in a compiled component. Loading only maps the code, but it decodes the description into structures
//! that are many times as large.

/// The section with the description (`ELF_WASMTIME_INFO` of wasmtime-environ).
const DESCRIPTION: &[u8] = b".wasmtime.info";

/// The most bytes of the description. Python's interpreter has two or three MiB.
pub(super) const MAX_DESCRIPTION: u64 = 16 << 20;

/// Bytes of the description of a compiled component, an ELF file in native byte order. `None` if the bytes aren't one.
pub(super) fn description_bytes(compiled: &[u8]) -> Option<u64> {
    let sections = usize::try_from(long(compiled, 40)?).ok()?;
    let [size, count, names] = [58, 60, 62].map(|at| short(compiled, at).map(usize::from));
    let (size, count, names) = (size?, count?, names?);
    let header = |index: usize| compiled.get(sections.checked_add(index.checked_mul(size)?)?..);
    let names = usize::try_from(long(header(names)?, 24)?).ok()?;
    (0..count).find_map(|index| {
        let header = header(index)?;
        let name = names.checked_add(usize::try_from(word(header, 0)?).ok()?)?;
        let name = compiled.get(name..)?.strip_prefix(DESCRIPTION)?;
        name.starts_with(&[0]).then(|| long(header, 32))?
    })
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sandbox::compile::engine::config;
    use crate::sandbox::metering::Metering;

    #[test]
    fn the_description_grows_with_the_component() {
        let engine = wasmtime::Engine::new(&config(512 << 10, Metering::Fuel)).unwrap();
        let described = |text: &str| {
            let bytes = wat::parse_str(text).unwrap();
            description_bytes(&engine.precompile_component(&bytes).unwrap()).unwrap()
        };
        let small = described("(component)");
        let name = "n".repeat(50_000);
        let large = described(&format!(
            "(component (core module $m) (export \"{name}\" (core module $m)))"
        ));
        assert!(
            (100..10_000).contains(&small) && (50_000..200_000).contains(&large),
            "{small} {large}"
        );
    }

    #[test]
    fn other_bytes_have_no_description() {
        assert_eq!(description_bytes(b""), None);
        assert_eq!(description_bytes(&[0xff; 200]), None);
    }
}
