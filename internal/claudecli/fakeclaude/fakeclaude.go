// Package fakeclaude is a scripted stand-in for the Claude Code CLI: it speaks
// the stream-json protocol as far as package claudecli uses it and misbehaves
// on demand. A test binary becomes the fake when it is started with Env. Only
// tests import it.
package fakeclaude

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	runVariable    = "FAKECLAUDE"
	scriptVariable = "FAKECLAUDE_SCRIPT"
)

// Env gives the environment that makes a test binary the fake. Each word of the
// script is one misbehaviour:
//
//	die            exits before it reads anything, with a line on stderr
//	sleep=DURATION waits before it reads anything
//	mute=SUBTYPE   never answers that control request; clear: /clear, user: lines that ask nothing
//	once=SUBTYPE   answers that control request once, and never again
//	refuse=SUBTYPE answers that control request with an error
//	norewind       answers rewind_conversation with rewound:false
//	leftover       says that something is left in front of the first prompt
//	sameclear      keeps the session id on /clear
//	ask            sends a control request of its own in each turn
//	withdraw       takes that request back at once
//	callstwice     asks for the result of a tool's call a second time, under another id
//
// Prompts and results of tools carry directives too: [[die]], [[hang]] (after the first event), [[garbage]], [[error=N]],
// [[limit=SECONDS]] (since 1970, until when requests are refused; [[limit]] is refused without a word about it),
// [[noanswer]], [[late-error]] (after a whole answer), [[max]] (goes on after max_tokens), [[delay=DURATION]],
// [[tool=NAME]] (calls the offered tool, and says in its next answer what came back), [[stop=REASON]] (why the
// message that calls it ends).
func Env(script ...string) []string {
	return []string{runVariable + "=1", scriptVariable + "=" + strings.Join(script, " ")}
}

// RunIfAsked becomes the fake, and never returns, in a process started with
// Env. Call it first in TestMain.
func RunIfAsked() {
	if os.Getenv(runVariable) != "1" {
		return
	}
	f := &fake{script: strings.Fields(os.Getenv(scriptVariable)), out: bufio.NewWriter(os.Stdout), session: "session-1"}
	os.Exit(f.run())
}

type fake struct {
	script  []string
	out     *bufio.Writer
	system  string
	model   string
	env     map[string]string
	context []string // uuid of each user line, "" for an assistant's
	session string
	clears  int
	// uncounted are the turns that the numbers leave out.
	uncounted int
	turns     int
	asked     int
	// replayed are the user's turns that were put in without a question.
	replayed int
	// answers are those to the control request that is answered once.
	answers int
	hanging bool
	servers map[string]jsontext.Value
	call    *call // the tool that it waits for
	// emptied is when the last control request was answered, and waited how long
	// the next prompt took to come.
	emptied time.Time
	waited  time.Duration
}

type input struct {
	Type        string `json:"type"`
	UUID        string `json:"uuid"`
	ShouldQuery *bool  `json:"shouldQuery"`
	Message     struct {
		Content jsontext.Value `json:"content"`
	} `json:"message"`
	RequestID string `json:"request_id"`
	Request   struct {
		Subtype         string   `json:"subtype"`
		SystemPrompt    []string `json:"systemPrompt"`
		NewSystemPrompt string   `json:"system_prompt"`
		Model           string   `json:"model"`
		Settings        struct {
			Model string            `json:"model"`
			Env   map[string]string `json:"env"`
		} `json:"settings"`
		Target  string                    `json:"target_message_uuid"`
		Servers map[string]jsontext.Value `json:"servers"`
	} `json:"request"`
	Response struct {
		RequestID string         `json:"request_id"`
		Error     string         `json:"error"`
		Response  jsontext.Value `json:"response"`
	} `json:"response"`
}

func (f *fake) has(word string) bool {
	for _, w := range f.script {
		if w == word {
			return true
		}
	}
	return false
}

func (f *fake) value(name string) string {
	for _, w := range f.script {
		if v, ok := strings.CutPrefix(w, name+"="); ok {
			return v
		}
	}
	return ""
}

func (f *fake) run() int {
	if f.has("die") {
		fmt.Fprintln(os.Stderr, "fakeclaude: dying as asked")
		return 1
	}
	if d, err := time.ParseDuration(f.value("sleep")); err == nil {
		time.Sleep(d)
	}
	for _, arg := range os.Args {
		if model, ok := strings.CutPrefix(arg, "--model="); ok {
			f.model = model
		}
	}
	f.env = map[string]string{}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 64<<20)
	for in.Scan() {
		var i input
		if err := json.Unmarshal(in.Bytes(), &i); err != nil {
			fmt.Fprintln(os.Stderr, "fakeclaude: not JSON")
			return 1
		}
		switch i.Type {
		case "control_request":
			f.control(&i)
		case "control_response":
			f.answered(&i)
		case "user":
			f.user(&i)
		case "assistant":
			f.context = append(f.context, "")
		}
		if f.out.Flush() != nil {
			return 1 // nobody reads any more
		}
	}
	return 0
}

// put writes a line. Its error is the buffer's, which Flush gives again.
func (f *fake) put(format string, args ...any) { _, _ = fmt.Fprintf(f.out, format+"\n", args...) }

func quoted(s string) string {
	b, err := json.Marshal(s, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return `""`
	}
	return string(b)
}

func (f *fake) control(i *input) {
	subtype := i.Request.Subtype
	switch {
	case f.value("mute") == subtype, f.value("once") == subtype && f.answers > 0:
		return
	case f.value("refuse") == subtype:
		f.put(`{"type":"control_response","response":{"subtype":"error","request_id":%s,"error":"refused as asked"}}`, quoted(i.RequestID))
		return
	}
	if f.value("once") == subtype {
		f.answers++
	}
	answer := "{}"
	switch subtype {
	case "get_binary_version":
		answer = `{"version":"0.0.1"}`
	case "initialize":
		f.system = strings.Join(i.Request.SystemPrompt, "\n")
	case "set_model":
		if i.Request.NewSystemPrompt != "" {
			f.system = i.Request.NewSystemPrompt
		}
		f.model = i.Request.Model
	case "apply_flag_settings":
		if i.Request.Settings.Model != "" {
			f.model = i.Request.Settings.Model
		}
		for k, v := range i.Request.Settings.Env {
			f.env[k] = v
		}
	case "mcp_set_servers":
		f.servers = i.Request.Servers
	case "rewind_conversation":
		answer = f.rewind(i.Request.Target)
	}
	f.put(`{"type":"control_response","response":{"subtype":"success","request_id":%s,"response":%s}}`, quoted(i.RequestID), answer)
	f.emptied = time.Now()
	if f.call != nil && (subtype == "interrupt" || subtype == "rewind_conversation") {
		f.call = nil
		f.hanging = true
	}
	if f.hanging && (subtype == "interrupt" || subtype == "rewind_conversation") {
		f.hanging = false
		f.result(i.UUID, true, 0, "interrupted")
	}
}

func (f *fake) rewind(target string) string {
	last := len(f.context) - 1
	for last >= 0 && f.context[last] == "" {
		last--
	}
	if f.has("norewind") || last < 0 || f.context[last] != target {
		return `{"rewound":false,"precedingAssistantUuid":null,"error":"stale target"}`
	}
	f.context = f.context[:last]
	if len(f.context) > 0 || f.has("leftover") {
		return `{"rewound":true,"precedingAssistantUuid":"some"}`
	}
	return `{"rewound":true,"precedingAssistantUuid":null}`
}

func (f *fake) user(i *input) {
	text := string(i.Message.Content)
	if text == `"/clear"` {
		if f.value("mute") == "clear" {
			return
		}
		f.clears++
		f.context = nil
		f.uncounted = f.turns // /clear begins to count anew
		if !f.has("sameclear") {
			f.session = fmt.Sprintf("session-%d", f.clears+1)
		}
		f.put(`{"type":"system","subtype":"init","session_id":%s}`, quoted(f.session))
		f.result(i.UUID, false, 0, "")
		return
	}
	f.waited = time.Since(f.emptied)
	f.context = append(f.context, i.UUID)
	if i.ShouldQuery != nil && !*i.ShouldQuery {
		if f.value("mute") == "user" {
			return
		}
		f.replayed++
		f.result(i.UUID, false, 0, "")
		return
	}
	f.put(`{"type":"system","subtype":"init","session_id":%s,"model":%s}`, quoted(f.session), quoted(f.model))
	f.turn(i, text)
}

// directive gives the value of [[name=value]] in a prompt, "1" for [[name]].
func directive(text, name string) string {
	for rest := text; ; {
		_, after, ok := strings.Cut(rest, "[["+name)
		if !ok {
			return ""
		}
		inside, _, ok := strings.Cut(after, "]]")
		if !ok {
			return ""
		}
		if inside == "" {
			return "1"
		}
		if v, ok := strings.CutPrefix(inside, "="); ok {
			return v
		}
		rest = after
	}
}

func (f *fake) turn(i *input, text string) {
	if f.has("ask") {
		f.asked++
		f.put(`{"type":"control_request","request_id":"own-%d","request":{"subtype":"can_use_tool","tool_name":"Bash"}}`, f.asked)
	}
	if f.has("withdraw") {
		f.put(`{"type":"control_cancel_request","request_id":"own-%d"}`, f.asked)
	}
	if d, err := time.ParseDuration(directive(text, "delay")); err == nil {
		time.Sleep(d)
	}
	switch {
	case directive(text, "hang") != "":
		f.put(`{"type":"stream_event","session_id":%s,"event":{"type":"message_start","message":{"id":"msg_hang","model":%s,"usage":{"input_tokens":3,"output_tokens":1}}}}`, quoted(f.session), quoted(f.model))
		f.hanging = true
		return
	case directive(text, "garbage") != "":
		f.put("this is not JSON")
	case directive(text, "noanswer") != "":
		f.result(i.UUID, false, 0, "")
		return
	case directive(text, "limit") != "":
		if until := directive(text, "limit"); until != "1" {
			f.put(`{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":%s},"session_id":%s}`, until, quoted(f.session))
		}
		f.finish(i.UUID, true, "429", 1, "API Error: it was asked for")
		return
	case directive(text, "error") != "":
		f.finish(i.UUID, true, directive(text, "error"), 1, "API Error: it was asked for")
		return
	}
	if name := directive(text, "tool"); name != "" {
		f.turns++
		f.callTool(i.UUID, name, cmp.Or(directive(text, "stop"), "tool_use"))
		return
	}
	f.turns++
	f.message(text, "end_turn", directive(text, "die") != "")
	if directive(text, "max") != "" {
		f.message("never asked for", "max_tokens", false)
		f.hanging = true
		return
	}
	f.result(i.UUID, directive(text, "late-error") != "", 1, "")
}

// message writes one answer as events and as an assistant line. Its text says
// what the fake was told; at is the time in Unix nanoseconds, waited how many
// nanoseconds after the last control answer the prompt came.
func (f *fake) message(prompt, stop string, die bool) {
	if directive(prompt, "max") != "" {
		stop = "max_tokens"
	}
	id := fmt.Sprintf("msg_%d_%d", os.Getpid(), f.turns)
	text := fmt.Sprintf("pid=%d at=%d waited=%d system=%q model=%s max=%s history=%d replayed=%d prompt=%s",
		os.Getpid(), time.Now().UnixNano(), f.waited, f.system, f.model, f.env["CLAUDE_CODE_MAX_OUTPUT_TOKENS"], len(f.context)-1, f.replayed, prompt)
	event := func(body string) {
		f.put(`{"type":"stream_event","session_id":%s,"event":%s}`, quoted(f.session), body)
	}
	event(fmt.Sprintf(`{"type":"message_start","message":{"id":%s,"type":"message","role":"assistant","model":%s,"content":[],"stop_reason":null,"usage":{"input_tokens":3,"output_tokens":1}}}`, quoted(id), quoted(f.model)))
	event(`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`)
	if die {
		_ = f.out.Flush()
		fmt.Fprintln(os.Stderr, "fakeclaude: dying in mid-turn")
		os.Exit(3)
	}
	event(fmt.Sprintf(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":%s}}`, quoted(text)))
	f.put(`{"type":"assistant","session_id":%s,"message":{"id":%s,"type":"message","role":"assistant","model":%s,"content":[{"type":"text","text":%s}]}}`, quoted(f.session), quoted(id), quoted(f.model), quoted(text))
	event(`{"type":"content_block_stop","index":0}`)
	event(fmt.Sprintf(`{"type":"message_delta","delta":{"stop_reason":%s,"stop_sequence":null},"usage":{"output_tokens":5}}`, quoted(stop)))
	event(`{"type":"message_stop"}`)
	f.context = append(f.context, "")
}

// result writes a result line; its numbers add up over the life of the process
// as the CLI's do.
func (f *fake) result(uuid string, isError bool, turns int, text string) {
	f.finish(uuid, isError, "null", turns, text)
}

func (f *fake) finish(uuid string, isError bool, status string, turns int, text string) {
	f.put(`{"type":"result","subtype":"success","is_error":%t,"api_error_status":%s,"num_turns":%d,"result":%s,"session_id":%s,"user_message_uuid":%s,"total_cost_usd":%g,"modelUsage":{%s:{"inputTokens":%d,"outputTokens":%d,"cacheReadInputTokens":0,"cacheCreationInputTokens":0,"costBasis":"list"}}}`,
		isError, status, turns, quoted(text), quoted(f.session), quoted(uuid), float64(f.turns-f.uncounted)*0.000025, quoted(f.model), (f.turns-f.uncounted)*3, (f.turns-f.uncounted)*5)
}
