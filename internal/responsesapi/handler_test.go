package responsesapi_test

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol/protocoltest"
	"claude-code-api-service/internal/responsesapi"
	"claude-code-api-service/internal/sqlite"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(int) { http.DefaultClient.CloseIdleConnections() }))
}

const (
	plain = `{"model":"haiku","input":"hi"}`
	whole = `{"id":"msg_1","type":"message","role":"assistant","model":"claude-haiku-5-5","content":[{"type":"text","text":"hel\"lo"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2}}`
)

var now = time.Unix(1_767_323_045, 0)

// newArchive makes an archive in a database of its own.
func newArchive(t testing.TB) *archive.Archive {
	t.Helper()
	db, err := sqlite.Open(context.Background(), sqlite.Options{Path: filepath.Join(t.TempDir(), "test.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return archive.New(archive.Options{Store: db, Now: func() time.Time { return now }})
}

type fixture struct {
	*protocoltest.Rooms
	archive responsesapi.Archive
	url     string
}

// serve serves the rooms, with an archive of its own where it is nil.
func serve(t testing.TB, rooms *protocoltest.Rooms, kept responsesapi.Archive) *fixture {
	t.Helper()
	if kept == nil {
		kept = newArchive(t)
	}
	h := responsesapi.New(responsesapi.Options{
		Gateway: rooms.Gateway(), Archive: kept, MaxBody: 1 << 20, Now: func() time.Time { return now },
	})
	return &fixture{Rooms: rooms, archive: kept, url: protocoltest.Server(t, h.Register).URL + "/v1/responses"}
}

func (f *fixture) get(t testing.TB, path string) protocoltest.Answer {
	t.Helper()
	return protocoltest.Do(t, http.MethodGet, f.url+path, "", "X-Api-Key", protocoltest.Key)
}

func result(usage message.Usage, stopReason string) gateway.Result {
	return gateway.Result{Summary: message.Summary{Usage: usage, StopReason: stopReason}}
}

var random = regexp.MustCompile(`[0-9a-f]{48}`)

// stable puts a fixed text in the place of random ids.
func stable(body string) string { return random.ReplaceAllString(body, "R") }

// id gives the id of the response in a body.
func id(t testing.TB, body string) string {
	t.Helper()
	found := regexp.MustCompile(`resp_[0-9a-f]{48}`).FindString(body)
	if found == "" {
		t.Fatalf("no response in %s", body)
	}
	return found
}

const echo = `,"parallel_tool_calls":true,"previous_response_id":null,"reasoning":{"effort":null,"summary":null},"store":true,"temperature":1,` +
	`"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_logprobs":0,"top_p":1,"truncation":"disabled","service_tier":"default",` +
	`"user":null,"safety_identifier":null,"prompt_cache_key":null,"metadata":{}`

func TestWholeAnswer(t *testing.T) {
	usage := message.Usage{InputTokens: 3, OutputTokens: 2, CacheReadInputTokens: 5, CacheCreationInputTokens: 7}
	for _, tt := range []struct {
		name, body, stop, head, output string
	}{
		{
			"text", whole, "end_turn", `"status":"completed","background":false,"completed_at":1767323045,"error":null,"incomplete_details":null`,
			`{"id":"msg_R0001","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"hel\"lo","annotations":[],"logprobs":[]}]}`,
		},
		{
			"thinking, text and calls in their order", `{"model":"claude-haiku-5-5","content":[{"type":"thinking","thinking":"hm","signature":"c2ln"},{"type":"redacted_thinking","data":"eA=="},` +
				`{"type":"text","text":"so"},{"type":"tool_use","id":"t1","name":"w","input":{"a":"b"}},{"type":"server_tool_use","id":"s"},{"type":"tool_use","id":"t2","name":"n","input":{}}]}`,
			"tool_use", `"status":"completed","background":false,"completed_at":1767323045,"error":null,"incomplete_details":null`,
			`{"id":"rs_R0001","type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]},{"id":"rs_R0002","type":"reasoning","summary":[]},` +
				`{"id":"msg_R0003","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"so","annotations":[],"logprobs":[]}]},` +
				`{"id":"fc_R0004","type":"function_call","status":"completed","call_id":"t1","name":"w","arguments":"{\"a\":\"b\"}"},` +
				`{"id":"fc_R0005","type":"function_call","status":"completed","call_id":"t2","name":"n","arguments":"{}"}`,
		},
		{
			"cut off", whole, "max_tokens", `"status":"incomplete","background":false,"completed_at":null,"error":null,"incomplete_details":{"reason":"max_output_tokens"}`,
			`{"id":"msg_R0001","type":"message","status":"incomplete","role":"assistant","content":[{"type":"output_text","text":"hel\"lo","annotations":[],"logprobs":[]}]}`,
		},
		{
			"refused", `{"model":"claude-haiku-5-5","content":[],"stop_details":{"type":"refusal","explanation":"No."}}`, "refusal",
			`"status":"incomplete","background":false,"completed_at":null,"error":null,"incomplete_details":{"reason":"content_filter"}`,
			`{"id":"msg_R0001","type":"message","status":"incomplete","role":"assistant","content":[{"type":"refusal","refusal":"No."}]}`,
		},
		{"nothing", `{"model":"claude-haiku-5-5","content":[]}`, "end_turn", `"status":"completed","background":false,"completed_at":1767323045,"error":null,"incomplete_details":null`, ``},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rooms := &protocoltest.Rooms{
				Message: []byte(tt.body), Result: result(usage, tt.stop),
				Limits: gateway.Limits{RequestsLimit: 100, RequestsRemaining: 40, RequestsReset: 359_200 * time.Millisecond},
				Header: http.Header{"Request-Id": {"req_up"}},
			}
			f := serve(t, rooms, nil)
			answer := protocoltest.Post(t, f.url, plain)
			want := `{"id":"resp_R","object":"response","created_at":1767323045,` + tt.head + `,"instructions":null,"max_output_tokens":null,"max_tool_calls":null,` +
				`"model":"claude-haiku-5-5","output":[` + tt.output + `]` + echo + `,"usage":{"input_tokens":15,"input_tokens_details":{"cached_tokens":5,"cache_write_tokens":7},` +
				`"output_tokens":2,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":17}}`
			if answer.Status != http.StatusOK || stable(answer.Body) != want {
				t.Fatalf("%d\ngot  %s\nwant %s", answer.Status, stable(answer.Body), want)
			}
			for name, want := range map[string]string{
				"Content-Type": "application/json", "X-Request-Id": protocoltest.RequestID, "X-Claude-Backend": "cli", "Request-Id": "req_up",
				"X-Ratelimit-Limit-Requests": "100", "X-Ratelimit-Remaining-Requests": "40", "X-Ratelimit-Reset-Requests": "6m0s",
			} {
				if got := answer.Header.Get(name); got != want {
					t.Errorf("%s = %q, want %q", name, got, want)
				}
			}
			if kept := f.get(t, "/"+id(t, answer.Body)); kept.Status != http.StatusOK || kept.Body != answer.Body {
				t.Errorf("kept is %d %s", kept.Status, kept.Body)
			}
		})
	}
}

func TestEcho(t *testing.T) {
	f := serve(t, &protocoltest.Rooms{Message: []byte(whole)}, nil)
	answer := protocoltest.Post(t, f.url, `{"model":"haiku","input":[{"role":"user","content":"hi"}],"instructions":"be brief","max_output_tokens":99,"temperature":0.25,"top_p":0.5,
		"parallel_tool_calls":false,"store":false,"truncation":"disabled","user":"u1","safety_identifier":"s1","prompt_cache_key":"k",
		"metadata":{
			"a":"b"
		},"reasoning":{"effort":"low","summary":"auto"},"text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object","properties":{}}}},
		"tools":[
			{"type":"function","name":"w","parameters":{"type":"object"}}
		],"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"w"}]}}`)
	for _, want := range []string{
		`"instructions":"be brief"`, `"max_output_tokens":99`, `"temperature":0.25`, `"top_p":0.5`, `"parallel_tool_calls":false`, `"store":false`, `"user":"u1"`,
		`"safety_identifier":"s1"`, `"prompt_cache_key":"k"`, `"metadata":{"a":"b"}`, `"reasoning":{"effort":"low","summary":"auto"}`,
		`"text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object","properties":{}}}}`,
		`"tools":[{"type":"function","name":"w","parameters":{"type":"object"}}]`, `"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"w"}]}`,
	} {
		if !strings.Contains(answer.Body, want) {
			t.Errorf("%s isn't in %s", want, answer.Body)
		}
	}
	if kept := f.get(t, "/"+id(t, answer.Body)); kept.Status != http.StatusNotFound {
		t.Errorf("a response that wasn't to be kept: %d %s", kept.Status, kept.Body)
	}
}

func TestConversationGoesOn(t *testing.T) {
	rooms := &protocoltest.Rooms{Result: result(message.Usage{}, "tool_use"), Message: []byte(`{"model":"m","content":[{"type":"thinking","thinking":"h\"m","signature":"c2ln"},` +
		`{"type":"text","text":"so"},{"type":"tool_use","id":"t1","name":"w","input":{"a":"b"}}]}`)}
	f := serve(t, rooms, nil)
	first := protocoltest.Post(t, f.url, `{"model":"haiku","instructions":"first","reasoning":{"effort":"low"},"input":[
		{"role":"developer","content":"kept"},{"id":null,"type":"message","role":"user","content":[{"type":"input_text","text":"hi"}]}]}`)
	rooms.Message = []byte(whole)
	second := protocoltest.Post(t, f.url, `{"model":"haiku","instructions":"second","reasoning":{"effort":"low"},"previous_response_id":"`+id(t, first.Body)+`","input":[
		{"type":"function_call_output","call_id":"t1","output":"sunny"}]}`)
	if second.Status != http.StatusOK || !strings.Contains(second.Body, `"previous_response_id":"`+id(t, first.Body)+`"`) {
		t.Fatalf("%d %s", second.Status, second.Body)
	}
	third := protocoltest.Post(t, f.url, `{"model":"haiku","previous_response_id":"`+id(t, second.Body)+`","input":"and?"}`)
	if third.Status != http.StatusOK {
		t.Fatalf("%d %s", third.Status, third.Body)
	}
	calls := rooms.Calls()
	const talk = `{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":[{"type":"thinking","thinking":"h\"m","signature":"c2ln"},` +
		`{"type":"text","text":"so"},{"type":"tool_use","id":"t1","name":"w","input":{"a":"b"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"sunny"}]}]}`
	for i, want := range []string{
		`"system":"first\n\nkept","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}`,
		`"thinking":{"type":"adaptive"},"max_tokens":6144,"output_config":{"effort":"low"},"system":"second\n\nkept","messages":[` + talk + `]}`,
		`"system":"kept","messages":[` + talk + `,{"role":"assistant","content":[{"type":"text","text":"hel\"lo"}]},{"role":"user","content":[{"type":"text","text":"and?"}]}]}`,
	} {
		if got := string(calls[i].Request.Body()); !strings.HasSuffix(got, want) {
			t.Errorf("request %d is\n%s, want …\n%s", i, got, want)
		}
		if len(calls[i].Warnings) > 0 {
			t.Errorf("request %d warns of %q", i, calls[i].Warnings)
		}
	}

	items := f.get(t, "/"+id(t, third.Body)+"/input_items?order=asc&limit=3")
	first0 := random.FindString(first.Body)
	want := `{"object":"list","data":[{"id":"msg_` + first0 + `0000","type":"message","status":"completed","role":"developer","content":[{"type":"input_text","text":"kept"}]},` +
		`{"id":"msg_` + first0 + `0001","type":"message","status":"completed","role":"user","content":[{"type":"input_text","text":"hi"}]},` +
		`{"id":"rs_` + first0 + `0002","type":"reasoning","summary":[{"type":"summary_text","text":"h\"m"}],"encrypted_content":"claude-thinking-1.` +
		`eyJ0eXBlIjoidGhpbmtpbmciLCJ0aGlua2luZyI6ImhcIm0iLCJzaWduYXR1cmUiOiJjMmxuIn0="}],"first_id":"msg_` + first0 + `0000","last_id":"rs_` + first0 + `0002","has_more":true}`
	if items.Status != http.StatusOK || items.Body != want {
		t.Errorf("input items are %d\n%s, want\n%s", items.Status, items.Body, want)
	}
	rest := f.get(t, "/"+id(t, third.Body)+"/input_items?order=asc&after=rs_"+first0+"0002")
	for _, want := range []string{`"type":"function_call"`, `"type":"function_call_output"`, `"text":"and?"`, `"has_more":false`} {
		if !strings.Contains(rest.Body, want) {
			t.Errorf("%s isn't in %s", want, rest.Body)
		}
	}
	if latest := f.get(t, "/"+id(t, third.Body)+"/input_items?limit=1"); !strings.Contains(latest.Body, `"text":"and?"`) || strings.Contains(latest.Body, "sunny") {
		t.Errorf("the latest item is %s", latest.Body)
	}
}

func TestReferences(t *testing.T) {
	rooms := &protocoltest.Rooms{Message: []byte(whole)}
	f := serve(t, rooms, nil)
	first := protocoltest.Post(t, f.url, plain)
	hex := random.FindString(first.Body)
	answer := protocoltest.Post(t, f.url, `{"input":[{"id":"msg_`+hex+`0000"},{"type":"item_reference","id":"msg_`+hex+`0001"},{"type":"item_reference","id":"msg_`+hex+`0001"},{"role":"user","content":"go on"}]}`)
	if answer.Status != http.StatusOK {
		t.Fatalf("%d %s", answer.Status, answer.Body)
	}
	const want = `"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":[{"type":"text","text":"hel\"lo"}]},{"role":"user","content":[{"type":"text","text":"go on"}]}]}`
	if got := string(rooms.Calls()[1].Request.Body()); !strings.HasSuffix(got, want) {
		t.Errorf("the request is %s", got)
	}
	for name, reference := range map[string]string{"another item": "msg_" + hex + "0009", "another response": "msg_" + strings.Repeat("0", 48) + "0001", "no id of ours": "msg_1"} {
		answer := protocoltest.Post(t, f.url, `{"input":[{"type":"item_reference","id":"`+reference+`"}]}`)
		if answer.Status != http.StatusNotFound || !strings.Contains(answer.Body, `"param":"input","code":"not_found"`) {
			t.Errorf("%s: %d %s", name, answer.Status, answer.Body)
		}
	}
}

func TestKept(t *testing.T) {
	f := serve(t, &protocoltest.Rooms{Message: []byte(whole)}, nil)
	response := id(t, protocoltest.Post(t, f.url, plain).Body)
	ask := func(method, path string) protocoltest.Answer {
		t.Helper()
		return protocoltest.Do(t, method, f.url+path, "", "X-Api-Key", protocoltest.Key)
	}
	for _, tt := range []struct {
		name, method, path string
		status             int
		body               string
	}{
		{"get", "GET", "/" + response, 200, `"id":"` + response},
		{"get a stream", "GET", "/" + response + "?stream=true", 400, "can't be streamed"},
		{"get an unknown one", "GET", "/resp_x", 404, `{"error":{"message":"Response with id 'resp_x' not found.","type":"invalid_request_error","param":null,"code":"not_found"}}`},
		{"cancel", "POST", "/" + response + "/cancel", 400, "Cannot cancel a synchronous response."},
		{"cancel an unknown one", "POST", "/resp_x/cancel", 404, "not found"},
		{"input items", "GET", "/" + response + "/input_items", 200, `"text":"hi"`},
		{"too many input items", "GET", "/" + response + "/input_items?limit=101", 400, `"param":"limit"`},
		{"a wrong order", "GET", "/" + response + "/input_items?order=up", 400, `"param":"order"`},
		{"behind an unknown one", "GET", "/" + response + "/input_items?after=x", 400, `"param":"after"`},
		{"input items of an unknown one", "GET", "/resp_x/input_items", 404, "not found"},
		{"delete", "DELETE", "/" + response, 200, `{"id":"` + response + `","object":"response","deleted":true}`},
		{"delete again", "DELETE", "/" + response, 404, "not found"},
		{"get a deleted one", "GET", "/" + response, 404, "not found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer := ask(tt.method, tt.path)
			if answer.Status != tt.status || !strings.Contains(answer.Body, tt.body) {
				t.Errorf("%d %s", answer.Status, answer.Body)
			}
		})
	}
	answer := protocoltest.Post(t, f.url, `{"input":"x","previous_response_id":"`+response+`"}`)
	want := `{"error":{"message":"Previous response with id '` + response + `' not found.","type":"invalid_request_error","param":"previous_response_id","code":"previous_response_not_found"}}`
	if answer.Status != http.StatusBadRequest || answer.Body != want {
		t.Errorf("going on from a deleted one: %d %s", answer.Status, answer.Body)
	}
	if answer := protocoltest.Do(t, http.MethodGet, f.url+"/"+response, ""); answer.Status != http.StatusUnauthorized {
		t.Errorf("without a key: %d %s", answer.Status, answer.Body)
	}
}

// broken is an archive whose disk is full, or that can't be read.
type broken struct{ responsesapi.Archive }

func (broken) Put(context.Context, string, string, string, time.Duration, []byte) error {
	return errors.New("disk full")
}

func (broken) Delete(context.Context, string, string, string) error { return errors.New("disk gone") }

func (broken) Get(context.Context, string, string, string) (archive.Document, error) {
	return archive.Document{}, errors.New("disk gone")
}

func TestAnArchiveThatFails(t *testing.T) {
	f := serve(t, &protocoltest.Rooms{Message: []byte(whole)}, broken{})
	answer := protocoltest.Post(t, f.url, plain)
	if answer.Status != http.StatusInternalServerError || !strings.Contains(answer.Body, "couldn't be kept") || strings.Contains(answer.Body, "disk") {
		t.Errorf("%d %s", answer.Status, answer.Body)
	}
	if answer := protocoltest.Post(t, f.url, `{"input":"hi","store":false}`); answer.Status != http.StatusOK {
		t.Errorf("not to be kept: %d %s", answer.Status, answer.Body)
	}
	for _, answer := range []protocoltest.Answer{
		f.get(t, "/resp_1"), protocoltest.Do(t, http.MethodDelete, f.url+"/resp_1", "", "X-Api-Key", protocoltest.Key),
		protocoltest.Post(t, f.url, `{"input":"hi","previous_response_id":"resp_1"}`),
	} {
		if answer.Status != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") != "1" || strings.Contains(answer.Body, "disk") {
			t.Errorf("%d %s", answer.Status, answer.Body)
		}
	}
}

func TestInputTokens(t *testing.T) {
	rooms := &protocoltest.Rooms{Message: []byte(`{"input_tokens":42}`)}
	f := serve(t, rooms, nil)
	answer := protocoltest.Post(t, f.url+"/input_tokens", `{"model":"haiku","input":"hi","instructions":"be brief","stream":true,"temperature":0.5,"user":"u"}`)
	if answer.Status != http.StatusOK || answer.Body != `{"object":"response.input_tokens","input_tokens":42}` {
		t.Errorf("%d %s", answer.Status, answer.Body)
	}
	call := rooms.Calls()[0]
	if want := `{"model":"haiku","system":"be brief","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}`; !call.CountOnly || string(call.Request.Body()) != want {
		t.Errorf("count only is %v, the request %s", call.CountOnly, call.Request.Body())
	}
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		rooms      *protocoltest.Rooms
		status     int
		want       string
	}{
		{"invalid", `{"input":[{"role":"user"}]}`, &protocoltest.Rooms{}, 400, `{"error":{"message":"input.0.content: field required","type":"invalid_request_error","param":"input.0.content","code":null}}`},
		{"rate limited", plain, &protocoltest.Rooms{AdmitErr: &apierror.Error{Category: apierror.RateLimited, Message: "slow down", RetryAfter: time.Second}}, 429,
			`{"error":{"message":"slow down","type":"requests","param":null,"code":"rate_limit_exceeded"}}`},
		{"upstream", plain, &protocoltest.Rooms{Err: apierror.New(apierror.UpstreamError, "it broke")}, 502, `{"error":{"message":"it broke","type":"server_error","param":null,"code":"upstream_error"}}`},
		{"not recorded", plain, &protocoltest.Rooms{Message: []byte(whole), RecordErr: errors.New("disk full")}, 500, `{"error":{"message":"the answer couldn't be recorded","type":"server_error","param":null,"code":"internal"}}`},
		{"unreadable", plain, &protocoltest.Rooms{Message: []byte(`{"content":1}`)}, 502, `{"error":{"message":"the upstream's answer couldn't be read","type":"server_error","param":null,"code":"upstream_error"}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := serve(t, tt.rooms, nil)
			if answer := protocoltest.Post(t, f.url, tt.body); answer.Status != tt.status || answer.Body != tt.want {
				t.Errorf("%d %s", answer.Status, answer.Body)
			}
		})
	}
}

func TestTheModelThatTheServiceChose(t *testing.T) {
	rooms := &protocoltest.Rooms{Message: []byte(whole)}
	h := responsesapi.New(responsesapi.Options{Gateway: rooms.Gateway(), Archive: newArchive(t), Rules: func(model string) message.Rules {
		if model == "claude-haiku-5-5" {
			return message.Rules{NoSampling: true, NoForcedTools: true}
		}
		return message.Rules{}
	}})
	url := protocoltest.Server(t, h.Register).URL + "/v1/responses"
	const rest = `"input":"hi","temperature":0.5,"text":{"format":{"type":"json_object"}},"tool_choice":{"type":"function","name":"b"},"tools":[{"type":"function","name":"a"},{"type":"function","name":"b"}]}`
	for _, model := range []string{``, `"model":"auto",`} {
		answer := protocoltest.Post(t, url, `{`+model+rest)
		calls := rooms.Calls()
		got := string(calls[len(calls)-1].Request.Body())
		if answer.Status != http.StatusOK || strings.Contains(got, "temperature") || strings.Contains(got, `"name":"a"`) || strings.Count(got, "JSON object") != 1 {
			t.Errorf("%d, the request is %s", answer.Status, got)
		}
		if got := answer.Header.Get("X-Claude-Warnings"); got != "tool_choice: the model can't be forced to call a function; it may answer without; temperature: the model doesn't take it" {
			t.Errorf("warnings are %q", got)
		}
	}
	answer := protocoltest.Post(t, url, `{"model":"sonnet",`+rest)
	if calls := rooms.Calls(); answer.Status != http.StatusOK || !strings.Contains(string(calls[len(calls)-1].Request.Body()), `"temperature":0.5`) {
		t.Errorf("a model by its name: %d %s", answer.Status, answer.Body)
	}
}

func TestJSONMode(t *testing.T) {
	const body = `{"input":"hi","text":{"format":{"type":"json_object"}}`
	rooms := &protocoltest.Rooms{Message: []byte(`{"model":"m","content":[{"type":"text","text":"` + "```json\\n{\\\"a\\\":1}\\n```" + `"}]}`)}
	rooms.Stream = []byte(`event: content_block_start
data: {"content_block":{"type":"text","text":"` + "``" + `"}}

event: content_block_delta
data: {"delta":{"type":"text_delta","text":"` + "`json\\n{\\\"a" + `"}}

event: content_block_delta
data: {"delta":{"type":"text_delta","text":"` + "\\\":1}\\n```" + `"}}

`)
	f := serve(t, rooms, nil)
	const want = `"text":"{\"a\":1}"`
	if answer := protocoltest.Post(t, f.url, body+"}"); answer.Status != http.StatusOK || !strings.Contains(answer.Body, want) || answer.Header.Get("X-Claude-Warnings") != "" {
		t.Errorf("%d %s", answer.Status, answer.Body)
	}
	answer := protocoltest.Post(t, f.url, body+`,"stream":true}`)
	if answer.Status != http.StatusOK || strings.Count(answer.Body, want) != 4 || strings.Contains(answer.Body, "``") {
		t.Errorf("%d %s", answer.Status, answer.Body)
	}
}

// An answer that was cut off inside a call can be asked for and gone on from.
func TestGoOnFromACallThatWasCutOff(t *testing.T) {
	stream := `event: content_block_start
data: {"content_block":{"type":"text","text":"Wait."}}

event: content_block_start
data: {"content_block":{"type":"tool_use","id":"t1","name":"w","input":{}}}

event: content_block_delta
data: {"delta":{"type":"input_json_delta","partial_json":"{\"ci"}}

`
	rooms := &protocoltest.Rooms{Stream: []byte(stream), Message: []byte(whole), Result: result(message.Usage{}, "max_tokens")}
	f := serve(t, rooms, nil)
	first := protocoltest.Post(t, f.url, `{"input":"hi","stream":true}`)
	const item = `"type":"function_call","status":"incomplete","call_id":"t1","name":"w","arguments":"{\"ci"}`
	if strings.Count(first.Body, item) != 2 {
		t.Errorf("streamed %s", first.Body)
	}
	if kept := f.get(t, "/"+id(t, first.Body)); kept.Status != http.StatusOK || !strings.Contains(kept.Body, item) {
		t.Errorf("kept is %d %s", kept.Status, kept.Body)
	}
	second := protocoltest.Post(t, f.url, `{"input":"go on","previous_response_id":"`+id(t, first.Body)+`"}`)
	const want = `"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":[{"type":"text","text":"Wait."}]},{"role":"user","content":[{"type":"text","text":"go on"}]}]}`
	if calls := rooms.Calls(); second.Status != http.StatusOK || !strings.HasSuffix(string(calls[len(calls)-1].Request.Body()), want) {
		t.Errorf("%d %s", second.Status, second.Body)
	}
}

// A strict service judges a request by what the chosen model takes, not by what
// every model would.
func TestAStrictServiceJudgesForTheChosenModel(t *testing.T) {
	const chosen = "claude-haiku-5-5"
	for name, refused := range map[string]bool{"any": false, chosen: true} {
		rooms := &protocoltest.Rooms{Message: []byte(whole)}
		g := gateway.New(gateway.Options{Authenticator: rooms, Admitter: rooms, Router: rooms, Recorder: rooms, Observer: rooms, Strict: true})
		h := responsesapi.New(responsesapi.Options{Gateway: g, Rules: func(model string) message.Rules {
			return message.Rules{NoSampling: (model == chosen) == (name == chosen)}
		}})
		url := protocoltest.Server(t, h.Register).URL + "/v1/responses"
		answer := protocoltest.Post(t, url, `{"temperature":0.5,"store":false,"input":"hi"}`)
		if (answer.Status == 400) != refused || len(rooms.Calls()) == 0 != refused {
			t.Errorf("%s has no sampling: %d %s", name, answer.Status, answer.Body)
		}
	}
}
