//! The vendor's own tools. Source: the request types of its SDKs.

/// A tool that the vendor runs, or whose schema it knows.
pub(super) struct ToolKind {
    pub(super) kind: &'static str,
    /// The only name it can have. `None`: it has no `name`.
    pub(super) name: Option<&'static str>,
    /// Its fields, apart from `type`, `name` and `cache_control`.
    pub(super) fields: &'static [&'static [&'static str]],
    /// One of these betas has to be active. None: the tool needs no beta.
    pub(super) betas: &'static [&'static str],
}

const SERVER: &[&str] = &["allowed_callers", "defer_loading", "strict"];
const CLIENT: &[&str] = &["allowed_callers", "defer_loading", "strict", "input_examples"];
const WEB: &[&str] = &["allowed_domains", "blocked_domains", "max_uses"];
const FETCH: &[&str] = &["citations", "max_content_tokens", "url_sources"];
const SCREEN: &[&str] = &["display_height_px", "display_number", "display_width_px"];
const CACHED: &[&str] = &["use_cache"];
const PLACE: &[&str] = &["user_location"];
const INCLUSION: &[&str] = &["response_inclusion"];

const fn tool(kind: &'static str, name: &'static str, fields: &'static [&'static [&'static str]]) -> ToolKind {
    ToolKind {
        kind,
        name: Some(name),
        fields,
        betas: &[],
    }
}

const fn toolset(kind: &'static str, fields: &'static [&'static [&'static str]]) -> ToolKind {
    ToolKind {
        kind,
        name: None,
        fields,
        betas: &[],
    }
}

impl ToolKind {
    const fn beta(self, betas: &'static [&'static str]) -> Self {
        Self { betas, ..self }
    }
}

const EDITOR: &str = "str_replace_editor";
const EDIT_TOOL: &str = "str_replace_based_edit_tool";
const REGEX: &str = "tool_search_tool_regex";
const BM25: &str = "tool_search_tool_bm25";
const COMPUTER: &[&str] = &["computer-use-"];

/// All tools of an MCP server. Only that server knows their names.
pub(super) const MCP_TOOLSET: &str = "mcp_toolset";

pub(super) const TOOL_KINDS: [ToolKind; 29] = [
    tool("bash_20250124", "bash", &[CLIENT]),
    tool("bash_20241022", "bash", &[CLIENT]).beta(COMPUTER),
    tool("text_editor_20241022", EDITOR, &[CLIENT]).beta(COMPUTER),
    tool("text_editor_20250124", EDITOR, &[CLIENT]),
    tool("text_editor_20250429", EDIT_TOOL, &[CLIENT]),
    tool("text_editor_20250728", EDIT_TOOL, &[CLIENT, &["max_characters"]]),
    tool("memory_20250818", "memory", &[CLIENT]),
    tool("computer_20241022", "computer", &[CLIENT, SCREEN]).beta(COMPUTER),
    tool("computer_20250124", "computer", &[CLIENT, SCREEN]).beta(COMPUTER),
    tool("computer_20251124", "computer", &[CLIENT, SCREEN, &["enable_zoom"]]).beta(COMPUTER),
    tool("code_execution_20250522", "code_execution", &[SERVER]),
    tool("code_execution_20250825", "code_execution", &[SERVER]),
    tool("code_execution_20260120", "code_execution", &[SERVER]),
    tool("code_execution_20260521", "code_execution", &[SERVER]),
    tool("web_search_20250305", "web_search", &[SERVER, WEB, PLACE]),
    tool("web_search_20260209", "web_search", &[SERVER, WEB, PLACE]),
    tool("web_search_20260318", "web_search", &[SERVER, WEB, PLACE, INCLUSION]),
    tool("web_fetch_20250910", "web_fetch", &[SERVER, WEB, FETCH]),
    tool("web_fetch_20260209", "web_fetch", &[SERVER, WEB, FETCH]),
    tool("web_fetch_20260309", "web_fetch", &[SERVER, WEB, FETCH, CACHED]),
    tool(
        "web_fetch_20260318",
        "web_fetch",
        &[SERVER, WEB, FETCH, CACHED, INCLUSION],
    ),
    tool(REGEX, REGEX, &[SERVER]),
    tool("tool_search_tool_regex_20251119", REGEX, &[SERVER]),
    tool(BM25, BM25, &[SERVER]),
    tool("tool_search_tool_bm25_20251119", BM25, &[SERVER]),
    tool(
        "advisor_20260301",
        "advisor",
        &[SERVER, &["caching", "max_tokens", "max_uses", "model"]],
    )
    .beta(&["advisor-tool-"]),
    toolset("browser_toolset_20260801", &[&["configs"]]),
    toolset("computer_toolset_20260801", &[&["configs"]]),
    toolset(
        MCP_TOOLSET,
        &[&["configs", "default_config", "mcp_server_name", "tools"]],
    )
    .beta(&["mcp-client-"]),
];
