package clienttest_test

import (
	"fmt"
	"maps"
	"slices"
)

// result is the outcome of one check.
type result struct {
	Client  string `json:"client"`
	Feature string `json:"feature"`
	Backend string `json:"backend"`
	// Error is "" where the client got what it should.
	Error string `json:"error"`
}

// client is one real client.
type client struct {
	name   string // as the checks name it
	about  string // the column's title
	script string // in the folder clients; "" for one in Go
	// packages are those whose versions the page names: npm packages for a
	// script, Go modules for the others.
	packages []string
	// lacks are the features that the client has no way to ask for, with the
	// reason.
	lacks map[string]string
	// refused are checks in which the service refuses on purpose, by "feature" or
	// "feature/backend"; the check itself sees the refusal. The text says why.
	refused map[string]string
}

var backends = []string{"cli", "direct"} //nolint:gochecknoglobals // never changed

// feature is one row of the table.
type feature struct{ name, about string }

// features are those of the clients of the two APIs, in the table's order.
func features() []feature {
	return []feature{
		{"plain", "a plain answer"},
		{"stream", "a stream: several deltas, together the whole text"},
		{"history", "a system prompt and a conversation of several turns"},
		{"tools", "tools: the model calls one, gets its result and answers with it"},
		{"tool loop", "the client's own loop that runs the tools"},
		{"parallel tools", "two calls in one answer"},
		{"tool stream", "a tool's arguments, streamed"},
		{"tool choice", "a tool that must be called, and none that may"},
		{"structured output", "an answer that follows a JSON schema"},
		{"json object", "an answer that is some JSON object"},
		{"image", "a picture in the request"},
		{"image by URL", "a picture by its address, which the upstream fetches"},
		{"document", "a PDF in the request"},
		{"citations", "a document that the answer cites"},
		{"web search", "a tool that runs at the API: web search"},
		{"thinking", "thinking, whole and streamed"},
		{"caching", "cache_control, and the tokens that it saves"},
		{"usage", "token counts, whole and streamed"},
		{"bad key", "a wrong key: the client's own error for it"},
		{"unknown model", "a model that doesn't exist: the client's own error for it"},
		{"invalid request", "a wrong request: the client's own error for it"},
		{"rate limit", "a key that is used up: the client's own error, and the time to try again kept"},
		{"upstream error", "the upstream fails: the client's own error for it"},
		{"error in a stream", "the upstream fails in the middle of a stream"},
		{"cancel", "a stream that the caller leaves: the upstream's answer is broken off"},
		{"models", "the list of models"},
		{"count tokens", "tokens counted in advance"},
		{"responses", "Responses: a plain answer"},
		{"responses stream", "Responses: a stream with all its events in order"},
		{"responses tools", "Responses: a function call and its result, whole and streamed"},
		{"responses structured", "Responses: an answer that follows a JSON schema"},
		{"responses kept", "Responses: previous_response_id; fetched and deleted where the client can"},
	}
}

// Reasons that several clients share.
const (
	anthropicHasNone = "the Messages API has no such thing"
	openAIHasNone    = "the OpenAI API has no such thing"
	onlyOpenAI       = "the client speaks Chat Completions only"
	noModels         = "the client doesn't list models"
	noCounting       = "the client counts no tokens"
	noLoop           = "the client has no such loop"
	atTheAPI         = "Claude Code can't offer tools that run at the API; the refusal says so"
)

// clientList are the clients, in the table's order.
func clientList() []client {
	noResponses := func(reason string, more map[string]string) map[string]string {
		lacks := maps.Clone(more)
		for _, name := range []string{"responses", "responses stream", "responses tools", "responses structured", "responses kept"} {
			lacks[name] = reason
		}
		return lacks
	}
	return []client{
		{
			name: "openai", about: "openai", script: "openai.mjs", packages: []string{"openai"},
			lacks: map[string]string{"caching": openAIHasNone, "citations": openAIHasNone, "web search": openAIHasNone, "count tokens": openAIHasNone},
		},
		{
			name: "anthropic", about: "@anthropic-ai/sdk", script: "anthropic.mjs", packages: []string{"@anthropic-ai/sdk"},
			lacks:   noResponses(anthropicHasNone, map[string]string{"json object": anthropicHasNone}),
			refused: map[string]string{"web search/cli": atTheAPI},
		},
		{
			name: "ai openai-compatible", about: "AI SDK, openai-compatible", script: "ai-openai.mjs", packages: []string{"ai", "@ai-sdk/openai-compatible"},
			lacks: noResponses(onlyOpenAI, map[string]string{
				"caching": openAIHasNone, "citations": openAIHasNone, "web search": openAIHasNone, "count tokens": noCounting, "models": noModels,
			}),
		},
		{
			name: "ai anthropic", about: "AI SDK, anthropic", script: "ai-anthropic.mjs", packages: []string{"ai", "@ai-sdk/anthropic"},
			lacks:   noResponses(anthropicHasNone, map[string]string{"json object": anthropicHasNone, "count tokens": noCounting, "models": noModels}),
			refused: map[string]string{"web search/cli": atTheAPI},
		},
		{
			name: "langchain openai", about: "LangChain, openai", script: "langchain-openai.mjs", packages: []string{"@langchain/core", "@langchain/openai"},
			lacks: map[string]string{"caching": openAIHasNone, "citations": openAIHasNone, "web search": openAIHasNone, "count tokens": noCounting, "models": noModels, "tool loop": noLoop},
		},
		{
			name: "langchain anthropic", about: "LangChain, anthropic", script: "langchain-anthropic.mjs", packages: []string{"@langchain/core", "@langchain/anthropic"},
			lacks: noResponses(anthropicHasNone, map[string]string{
				"json object": anthropicHasNone, "count tokens": noCounting, "models": noModels, "tool loop": noLoop,
				"citations": "the client makes a plain string of an answer that is one text, without what it cites",
			}),
			refused: map[string]string{"web search/cli": atTheAPI},
		},
		{
			name: "openai-go", about: "openai-go", packages: []string{"github.com/openai/openai-go/v3"},
			lacks: map[string]string{"caching": openAIHasNone, "citations": openAIHasNone, "web search": openAIHasNone, "count tokens": openAIHasNone, "tool loop": noLoop},
		},
		{
			name: "anthropic-sdk-go", about: "anthropic-sdk-go", packages: []string{"github.com/anthropics/anthropic-sdk-go"},
			lacks:   noResponses(anthropicHasNone, map[string]string{"json object": anthropicHasNone}),
			refused: map[string]string{"web search/cli": atTheAPI},
		},
	}
}

// oldFeatures are those of callers of the service that this one replaces.
func oldFeatures() []feature {
	return []feature{
		{"chat", "POST /v1/chat/completions: the flat fields beside OpenAI's"},
		{"process", "POST /v1/process: messages, system_message and user_message, content"},
		{"process tools", "POST /v1/process: tools and their results"},
		{"process schema", "POST /v1/process: output_schema"},
		{"process media", "POST /v1/process: media_content"},
		{"process stream", "POST /v1/process: additional_params.stream"},
		{"process async", "POST /v1/process: async_processing, GET /v1/process/{id}"},
		{"process errors", "POST /v1/process: detail beside error"},
		{"batch", "POST /v1/batch: order kept, one failure fails only itself"},
		{"route", "POST /v1/route"},
		{"usage", "GET /v1/usage: reads its own writes"},
		{"providers", "GET /v1/providers and /v1/providers/{provider}/models"},
	}
}

// socketFeatures are those of the WebSocket.
func socketFeatures() []feature {
	return []feature{
		{"chat", "a conversation, with real deltas"},
		{"conversation", "several turns on one socket"},
		{"cancel", "{type: cancel}: the upstream's answer is broken off"},
		{"close", "closing the socket breaks the upstream's answer off"},
		{"ping", "a ping is answered while an answer runs"},
		{"key in a header", "the key in Authorization or x-api-key"},
		{"key in the protocol", "the key in Sec-WebSocket-Protocol"},
		{"key in a message", "the key in the first message"},
		{"bad key", "a wrong key, or none, is refused"},
		{"errors", "an unknown model, a wrong message: an error, and the socket goes on"},
	}
}

// table is one table of the page.
type table struct {
	title    string
	features []feature
	clients  []client
}

func tables() []table {
	return []table{
		{"The SDKs", features(), clientList()},
		{"Callers of the service that this one replaces", oldFeatures(), []client{
			{name: "fetch", about: "fetch", script: "fetch.mjs"},
		}},
		{"WebSocket /v1/stream", socketFeatures(), []client{
			{name: "ws", about: "ws", script: "ws.mjs", packages: []string{"ws"}},
		}},
	}
}

// compare says what is wrong with the results of a client: a check that failed,
// that didn't run, ran twice or isn't declared.
func (c client) compare(features []feature, results []result) (wrong []string) {
	missing := map[string]bool{}
	for _, f := range features {
		if _, lacks := c.lacks[f.name]; lacks {
			continue
		}
		for _, backend := range backends {
			missing[f.name+" on "+backend] = true
		}
	}
	for _, r := range results {
		check := r.Feature + " on " + r.Backend
		switch {
		case r.Client != c.name:
			wrong = append(wrong, fmt.Sprintf("%s: a result of %q", check, r.Client))
		case !missing[check]:
			wrong = append(wrong, check+": isn't declared, or ran twice")
		case r.Error != "":
			wrong = append(wrong, check+": "+r.Error)
		}
		delete(missing, check)
	}
	for _, check := range slices.Sorted(maps.Keys(missing)) {
		wrong = append(wrong, check+": didn't run")
	}
	return wrong
}
