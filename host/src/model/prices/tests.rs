#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use jiff::civil::date;

use super::*;

const TODAY: Date = date(2026, 11, 24);

fn parse(text: &str) -> Result<Prices, Vec<String>> {
    table::parse(text).map(|table| Prices {
        table: Arc::new(table),
        is_builtin: false,
    })
}

fn usage(input: u64, write_5m: u64, write_1h: u64, read: u64, output: u64) -> Usage {
    Usage {
        input_tokens: input,
        output_tokens: output,
        cache_creation_5m_input_tokens: write_5m,
        cache_creation_1h_input_tokens: write_1h,
        cache_read_input_tokens: read,
    }
}

/// The cost in dollars of a million tokens of each kind on a day, in the tier of the shortest prompts.
fn per_million(model: &str, on: Date) -> [String; 5] {
    let price = Prices::builtin().find(model, on).unwrap();
    [
        usage(1, 0, 0, 0, 0),
        usage(0, 1, 0, 0, 0),
        usage(0, 0, 1, 0, 0),
        usage(0, 0, 0, 1, 0),
        usage(0, 0, 0, 0, 1),
    ]
    .map(|one| {
        price
            .cost(&one)
            .saturating_mul(1_000_000)
            .to_string()
            .trim_end_matches('0')
            .to_owned()
    })
}

#[test]
fn the_builtin_table_matches_the_vendors() {
    parse(Prices::BUILTIN).unwrap();
    for (models, prices) in [
        (
            &["claude-fable-5-2", "claude-mythos-5-2"][..],
            ["8.", "10.", "16.", "0.2", "40."],
        ),
        (
            &["claude-fable-5-1", "claude-mythos-5-1"],
            ["10.", "12.5", "20.", "0.25", "50."],
        ),
        (
            &["claude-fable-5", "claude-mythos-5"],
            ["10.", "12.5", "20.", "1.", "50."],
        ),
        (&["claude-opus-5-5"], ["4.", "5.", "8.", "0.2", "20."]),
        (
            &[
                "claude-opus-4-5",
                "claude-opus-4-6",
                "claude-opus-4-7",
                "claude-opus-4-8",
                "claude-opus-5",
            ],
            ["5.", "6.25", "10.", "0.5", "25."],
        ),
        (&["claude-sonnet-5-5"], ["2.", "2.5", "4.", "0.1", "10."]),
        (&["claude-sonnet-5", "simulated-1"], ["2.", "2.5", "4.", "0.2", "10."]),
        (
            &[
                "claude-sonnet-4-20250514",
                "claude-sonnet-4-0",
                "claude-sonnet-4-5",
                "claude-sonnet-4-6",
            ],
            ["3.", "3.75", "6.", "0.3", "15."],
        ),
        (&["claude-haiku-5-5"], ["0.1", "0.125", "0.2", "0.01", "0.5"]),
        (
            &["claude-haiku-4-5", "claude-haiku-4-5-20251001"],
            ["1.", "1.25", "2.", "0.1", "5."],
        ),
    ] {
        for model in models {
            assert_eq!(per_million(model, TODAY), prices, "{model}");
        }
    }
}

#[test]
fn prices_change_on_their_start_date() {
    assert_eq!(per_million("claude-sonnet-5-5", date(2026, 10, 6))[3], "0.2");
    assert_eq!(per_million("claude-sonnet-5-5", date(2026, 10, 7))[3], "0.1");

    let dated =
        parse(r#""m" = [{ from = 2026-02-01, input = 2, output = 2 }, { from = 2026-01-01, input = 1, output = 1 }]"#)
            .unwrap();
    let cost = |on| {
        dated
            .find("m", on)
            .map(|price| price.cost(&usage(1, 0, 0, 0, 0)).as_nanos())
    };
    assert_eq!(cost(date(2025, 12, 31)), None);
    assert_eq!(cost(date(2026, 1, 31)), Some(1_000));
    assert_eq!(cost(date(2026, 2, 1)), Some(2_000));
}

#[test]
fn a_long_prompt_pays_its_tier_for_everything() {
    let price = Prices::builtin().find("claude-haiku-5-5", TODAY).unwrap();
    // The whole prompt counts, cached parts included.
    assert_eq!(
        price.cost(&usage(60_000, 0, 0, 40_000, 10)).as_nanos(),
        60_000 * 100 + 40_000 * 10 + 10 * 500
    );
    assert_eq!(
        price.cost(&usage(60_001, 0, 0, 40_000, 10)).as_nanos(),
        60_001 * 500 + 40_000 * 50 + 10 * 2_500
    );
}

/// Computed by hand, in nano-dollars: tokens × dollars per million × 1,000.
#[test]
fn costs_are_exact() {
    let november = date(2026, 11, 24);
    for (model, on, usage, nanos) in [
        // 2, 2.5, 4, 0.1 and 10 dollars.
        (
            "claude-sonnet-5-5",
            november,
            usage(1_000, 0, 0, 0, 100),
            2_000_000 + 1_000_000,
        ),
        ("claude-sonnet-5-5", november, usage(0, 3, 0, 0, 0), 7_500),
        ("claude-sonnet-5-5", november, usage(0, 0, 3, 0, 0), 12_000),
        ("claude-sonnet-5-5", november, usage(0, 0, 0, 3, 0), 300),
        (
            "claude-sonnet-5-5",
            november,
            usage(11, 13, 17, 19, 23),
            22_000 + 32_500 + 68_000 + 1_900 + 230_000,
        ),
        // The day before the cache reads became cheaper, and that day.
        (
            "claude-sonnet-5-5",
            date(2026, 10, 6),
            usage(11, 13, 17, 19, 23),
            356_300,
        ),
        (
            "claude-sonnet-5-5",
            date(2026, 10, 7),
            usage(11, 13, 17, 19, 23),
            354_400,
        ),
        // 0.1, 0.125, 0.2, 0.01 and 0.5 dollars; above 100,000 tokens of prompt five times as much.
        (
            "claude-haiku-5-5",
            november,
            usage(1, 1, 1, 1, 1),
            100 + 125 + 200 + 10 + 500,
        ),
        (
            "claude-haiku-5-5",
            november,
            usage(25_000, 25_000, 25_000, 25_000, 1),
            10_875_500,
        ),
        (
            "claude-haiku-5-5",
            november,
            usage(25_000, 25_000, 25_000, 25_001, 1),
            54_377_550,
        ),
        ("claude-opus-5-5", november, usage(0, 0, 0, 0, 0), 0),
    ] {
        let cost = Prices::builtin().find(model, on).unwrap().cost(&usage);
        assert_eq!(cost.as_nanos(), nanos, "{model} on {on}: {usage:?}");
    }
    assert!(Prices::builtin().find("nobody-knows-1", november).is_none());
}

#[test]
fn the_worst_case_bounds_every_usage_within_it() {
    // Here short prompts cost more.
    let falling = parse(r#""m" = [{ input = 9, output = 9 }, { above_prompt_tokens = 100, input = 1, output = 1 }]"#);
    let falling = falling.unwrap().find("m", TODAY).unwrap();
    let haiku = Prices::builtin().find("claude-haiku-5-5", TODAY).unwrap();
    for price in [falling, haiku] {
        for prompt in [0, 1, 100, 101, 100_000, 100_001] {
            for length in [prompt, prompt / 2] {
                for (cached_for, usage) in [
                    (None, usage(length, 0, 0, 0, 7)),
                    (Some(CacheTtl::FiveMinutes), usage(0, length, 0, 0, 7)),
                    (Some(CacheTtl::OneHour), usage(0, 0, length, 0, 7)),
                    (Some(CacheTtl::OneHour), usage(0, 0, 0, length, 7)),
                ] {
                    assert!(
                        price.cost(&usage) <= price.worst_case(prompt, 7, cached_for),
                        "{usage:?} of {prompt}"
                    );
                }
            }
        }
    }
    let sonnet = Prices::builtin().find("claude-sonnet-5-5", TODAY).unwrap();
    // Four more reads, for 200 and for 2,000 nano-dollars a token.
    for (cached_for, usage) in [
        (Some(CacheTtl::FiveMinutes), usage(0, 1_000, 0, 4_000, 7)),
        (None, usage(5_000, 0, 0, 0, 7)),
    ] {
        let worst = sonnet.worst_case_with_searches(1_000, 4, 7, cached_for);
        assert_eq!(worst, sonnet.cost(&usage), "{cached_for:?}");
    }
    for (cached_for, input) in [
        (None, 2_000),
        (Some(CacheTtl::FiveMinutes), 2_500),
        (Some(CacheTtl::OneHour), 4_000),
    ] {
        let worst = sonnet.worst_case(1_000, 4_096, cached_for);
        assert_eq!(worst.as_nanos(), 1_000 * input + 4_096 * 10_000, "{cached_for:?}");
    }
}

#[test]
fn absurd_usage_saturates() {
    let price = Prices::builtin().find("claude-opus-5", TODAY).unwrap();
    assert_eq!(price.cost(&usage(u64::MAX, u64::MAX, 0, 0, u64::MAX)), NanoUsd::MAX);
    assert_eq!(price.worst_case(u64::MAX, 0, None), NanoUsd::MAX);
}

#[test]
fn only_a_date_suffix_is_optional_in_an_id() {
    let prices = Prices::builtin();
    for (model, known) in [
        ("claude-sonnet-4-5-20250929", true),
        ("claude-sonnet-4-5-2025092", false),
        ("claude-sonnet-4-5-latest", false),
        ("claude-sonnet", false),
        ("Claude-Sonnet-4-5", false),
        ("", false),
    ] {
        assert_eq!(prices.find(model, TODAY).is_some(), known, "{model}");
    }
    // The exact id takes precedence over the id without a date.
    let both = parse("m-20260101 = [{ input = 1, output = 1 }]\nm = [{ input = 2, output = 2 }]").unwrap();
    assert_eq!(
        both.find("m-20260101", TODAY)
            .unwrap()
            .cost(&usage(1, 0, 0, 0, 0))
            .as_nanos(),
        1_000
    );
}

#[test]
fn free_is_free_and_unknown_is_not() {
    let prices = parse("\"llama3.1\" = [{ free = true }]").unwrap();
    let price = prices.find("llama3.1", TODAY).unwrap();
    assert_eq!(price.worst_case(u64::MAX, u64::MAX, None), NanoUsd::ZERO);
    assert!(prices.find("claude-sonnet-5-5", TODAY).is_none());
    assert!(
        Prices::builtin()
            .find("claude-haiku-5-5", TODAY)
            .unwrap()
            .worst_case(1, 1, None)
            > NanoUsd::ZERO
    );
}

#[test]
fn numbers_and_strings_are_equally_exact() {
    let prices = parse("m = [{ input = 0.125, cache_read = 1_000, output = \"2.50\" }]").unwrap();
    let price = prices.find("m", TODAY).unwrap();
    assert_eq!(price.cost(&usage(1, 0, 0, 1, 1)).as_nanos(), 125 + 1_000_000 + 2_500);
    // Cache prices default to the plain price.
    assert_eq!(price.cost(&usage(0, 1, 1, 0, 0)).as_nanos(), 250);
}

#[test]
fn every_problem_is_reported() {
    let problems = parse(
        r#"
        a = []
        b = [{ input = 1 }]
        c = [{ input = 0.0001, output = 1 }]
        d = [{ input = -1, output = 1 }]
        e = [{ input = 1e3, output = 1 }]
        f = [{ free = true, input = 1 }]
        g = [{ above_prompt_tokens = 5, input = 1, output = 1 }]
        h = [{ input = 1, output = 1 }, { input = 2, output = 2 }]
        i = [{ from = 2026-01-01T00:00:00Z, input = 1, output = 1 }]
        j = [{ input = true, output = 1 }]
        k = [
            { from = 2026-01-01, input = 1, output = 1 },
            { input = 1, output = 2.5555 },
        ]
        l = [{ input = 1, output = 1, as_of = 12:00:00 }]
        "#,
    )
    .unwrap_err();
    let expected = [
        "line 2: `a`: at least one row is required",
        "line 3: `b`: `output` is missing",
        "line 4: `c`: `input`: `0.0001` has more than three decimals",
        "line 5: `d`: `input`: `-1` is not a decimal amount such as 1.50",
        "line 6: `e`: `input`: `1e3` is not a decimal amount such as 1.50",
        "line 7: `f`: a row is free or has prices, not both",
        "line 8: `g`: short prompts need a row without `above_prompt_tokens`",
        "line 9: `h`: two rows apply to the same days and prompts",
        "line 10: `i`: `from` must be a date such as 2026-10-07, without a time",
        "line 11: `j`: `input`: a price must be a decimal such as 2.50",
        "line 14: `k`: `output`: `2.5555` has more than three decimals",
        "line 16: `l`: `as_of` must be a date such as 2026-10-07, without a time",
    ];
    assert_eq!(problems, expected);
    // A key that doesn't exist, and a value of the wrong type, are named with their line as well.
    for (row, words) in [
        ("cached_read = 1", "`cached_read`"),
        ("above_prompt_tokens = \"1\"", "above_prompt_tokens"),
    ] {
        let problems = parse(&format!("\n\nm = [{{ input = 1, output = 1, {row} }}]")).unwrap_err();
        assert!(
            problems[0].starts_with("line 3: ") && problems[0].contains(words),
            "{problems:?}"
        );
    }
    // A typo must not make a model cheaper.
    assert!(parse("m = [{ input = 1, output = 1, cached_read = 1 }]").is_err());
    assert!(parse("m = [{ input = 1, output = 1 }]\nm = [{ input = 2, output = 2 }]").is_err());
}

#[test]
fn files_load_or_report_their_problems() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prices.toml");
    assert!(matches!(Prices::load(&path), Err(PriceError::Unreadable { .. })));
    fs::write(&path, "m = 1").unwrap();
    let error = Prices::load(&path).unwrap_err();
    assert!(
        matches!(&error, PriceError::Invalid { problems, .. } if problems.len() == 1),
        "{error}"
    );
    fs::write(&path, Prices::BUILTIN).unwrap();
    assert!(Prices::load(&path).unwrap().find("claude-sonnet-5-5", TODAY).is_some());
}

#[test]
fn a_misspelt_model_is_recognised() {
    let prices = Prices::builtin();
    assert_eq!(prices.nearest("claude-sonet-5-5").as_deref(), Some("claude-sonnet-5-5"));
    assert_eq!(prices.nearest("nobody-knows-1"), None);
    assert!(
        prices
            .hint_for("claude-sonet-5-5")
            .starts_with("did you mean `claude-sonnet-5-5`? Otherwise add `\"claude-sonet-5-5\" = ")
    );
    // Without a table of one's own, there is nothing to add a line to.
    assert!(prices.hint_for("m").contains("budget prices --toml > prices.toml"));
    let own = parse("m = [{ free = true }]").unwrap();
    assert!(!own.hint_for("n").contains("--toml"));
}

#[test]
fn the_line_to_add_is_refused_until_it_is_filled_in() {
    let line = Prices::line_to_add("a \"b\"");
    assert!(
        parse(&line).unwrap_err()[0].contains("is not a decimal amount"),
        "{line}"
    );
    let filled = line.replace("$ PER MILLION TOKENS", "1.5");
    assert!(parse(&filled).unwrap().find("a \"b\"", TODAY).is_some());
}

#[test]
fn every_row_of_the_builtin_table_says_where_it_was_read() {
    for row in Prices::builtin().rows() {
        assert!(row.source.is_some() && row.as_of.is_some(), "{row:?}");
    }
}

#[test]
fn rows_are_listed_under_the_names_of_the_file() {
    let rows = Prices::builtin().rows();
    let of = |model: &str| {
        let rows = rows.iter().filter(|row| row.model == model);
        rows.map(|row| serde_json::to_value(row).unwrap()).collect::<Vec<_>>()
    };
    let sonnet = of("claude-sonnet-5-5");
    assert_eq!(
        sonnet[0],
        serde_json::json!({
            "model": "claude-sonnet-5-5", "from": null, "until": "2026-10-07", "above_prompt_tokens": 0,
            "input": "2.00", "output": "10.00", "cache_write_5m": "2.50", "cache_write_1h": "4.00", "cache_read": "0.20",
            "source": "vendor", "as_of": "2026-11-28",
        })
    );
    assert_eq!(
        (&sonnet[1]["from"], &sonnet[1]["until"]),
        (&"2026-10-07".into(), &serde_json::Value::Null)
    );
    let haiku = of("claude-haiku-5-5");
    assert_eq!(
        (&haiku[0]["cache_write_5m"], &haiku[1]["cache_write_5m"]),
        (&"0.125".into(), &"0.625".into())
    );
    assert_eq!(haiku[1]["above_prompt_tokens"], 100_000);
    let models = rows
        .iter()
        .map(|row| &row.model)
        .collect::<std::collections::BTreeSet<_>>();
    assert!(models.len() >= 20 && rows.len() == models.len() + 2, "{}", rows.len());
    let free = parse("m = [{ free = true }]").unwrap().rows();
    assert_eq!((free[0].input.as_str(), &free[0].source), ("0.00", &None));
}

/// The tables that the documentation shows are tables that load.
#[test]
fn documented_tables_are_valid() {
    let text = include_str!("../../../docs/prices.md");
    let blocks: Vec<&str> = text
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    let tables: Vec<&str> = blocks.into_iter().filter(|block| !block.contains("[budget]")).collect();
    assert!(!tables.is_empty());
    for table in tables {
        assert!(parse(table).is_ok(), "{table}");
    }
}

#[test]
fn caching_saves_what_uncached_input_would_have_cost_more() {
    for (model, usage, saved) in [
        // Sonnet 5.5: input 2, writes 2.50 and 4, reads 0.10 dollars a million.
        ("claude-sonnet-5-5", usage(1_000, 0, 0, 0, 50), 0),
        ("claude-sonnet-5-5", usage(10, 1_000, 0, 0, 50), -500_000),
        ("claude-sonnet-5-5", usage(10, 0, 1_000, 0, 50), -2_000_000),
        ("claude-sonnet-5-5", usage(10, 0, 0, 1_000, 50), 1_900_000),
        ("claude-sonnet-5-5", usage(10, 100, 0, 1_000, 50), 1_850_000),
        // A long prompt of Haiku 5.5 has its own prices, cached or not: 0.50, read 0.05.
        ("claude-haiku-5-5", usage(10, 0, 0, 200_000, 50), 90_000_000),
    ] {
        let price = Prices::builtin().find(model, TODAY).unwrap();
        let found = price.cache_savings(&usage);
        assert_eq!(found.as_nanos(), saved, "{usage:?}");
        let uncached = Usage {
            input_tokens: usage.prompt_tokens(),
            output_tokens: usage.output_tokens,
            ..Usage::default()
        };
        assert_eq!(price.cost(&uncached).minus(price.cost(&usage)), found);
    }
}
