//! The ledger's rows as CSV (RFC 4180), for spreadsheets.

use std::borrow::Cow;

use serde_json::Value;

use crate::ledger::LedgerRow;
use crate::money::NanoUsd;

/// The kinds of tokens have columns of their own.
pub const HEADINGS: &str = "id,tenant,session_id,model,day,reserved_at,closed_at,state,reserved_usd,spent_usd,reversed_usd,estimated,\
                            input_tokens,output_tokens,cache_creation_5m_input_tokens,cache_creation_1h_input_tokens,\
                            cache_read_input_tokens,reverses,reason";

const TOKENS: [&str; 5] = [
    "input_tokens",
    "output_tokens",
    "cache_creation_5m_input_tokens",
    "cache_creation_1h_input_tokens",
    "cache_read_input_tokens",
];

/// One row without the end of its line.
pub fn line(row: &LedgerRow) -> String {
    let money = |amount: Option<NanoUsd>| amount.map(NanoUsd::exact).unwrap_or_default();
    let tokens = TOKENS.map(|kind| {
        let count = row
            .usage
            .as_ref()
            .and_then(|usage| usage.get(kind))
            .and_then(Value::as_u64);
        count.map(|count| count.to_string()).unwrap_or_default()
    });
    let fields = [
        row.id.to_string(),
        row.tenant.clone(),
        row.session_id.clone(),
        row.model.clone(),
        row.day.clone(),
        row.reserved_at.clone(),
        row.closed_at.clone().unwrap_or_default(),
        row.state.clone(),
        row.reserved_usd.exact(),
        money(row.spent_usd),
        money(row.reversed_usd),
        row.estimated.to_string(),
    ];
    let last = [
        row.reverses.as_ref().map(ToString::to_string).unwrap_or_default(),
        row.reason.clone().unwrap_or_default(),
    ];
    let fields = fields.iter().chain(&tokens).chain(&last);
    fields.map(|field| quoted(field)).collect::<Vec<_>>().join(",")
}

/// In quotes where it must be. A text that a spreadsheet would take for a formula begins with a quotation mark that makes it one.
fn quoted(field: &str) -> Cow<'_, str> {
    let field = match field.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => Cow::from(format!("'{field}")),
        false => Cow::from(field),
    };
    match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")).into(),
        false => field,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        for (field, expected) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"no\"", "\"say \"\"no\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "'=1+1"),
            ("", ""),
        ] {
            assert_eq!(quoted(field), expected);
        }
        assert!(HEADINGS.contains(&TOKENS.join(",")), "{HEADINGS}");
    }
}
