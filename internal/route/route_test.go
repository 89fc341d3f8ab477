package route_test

import (
	"context"
	"maps"
	"strings"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/route"
)

// named is a backend that only has a name.
type named string

func (named) Generate(context.Context, *gateway.Call, gateway.EventWriter) (gateway.Result, error) {
	return gateway.Result{}, nil
}

var (
	cli    = map[string]gateway.Backend{"cli": named("cli")}
	direct = map[string]gateway.Backend{"direct": named("direct"), "cli": nil}
	both   = map[string]gateway.Backend{"cli": named("cli"), "direct": named("direct")}
)

func resolve(alias string) (string, bool) {
	switch alias {
	case "haiku", "sonnet", "opus":
		return "claude-" + alias + "-5-5", true
	case "house", "own-model":
		return "own-model", true
	}
	return "", false
}

func call(t *testing.T, members string) *gateway.Call {
	t.Helper()
	if !strings.Contains(members, "messages") {
		members += `"messages":[{"role":"user","content":"hello"}]`
	}
	request, err := message.ParseRequest([]byte("{" + members + "}"))
	if err != nil {
		t.Fatal(err)
	}
	return &gateway.Call{Request: request, Caller: &gateway.Caller{}}
}

func TestABackendThatCannotServeIsPassedOver(t *testing.T) {
	for _, tt := range []struct {
		name, prefer, byDefault string
		backends                map[string]gateway.Backend
		want                    string
	}{
		{"the other serves", "", "", both, "direct"},
		{"the caller insists", "cli", "", both, "cli"},
		{"the operator insists", "", "cli", both, "cli"},
		{"there is no other", "", "", cli, "cli"},
	} {
		c := call(t, `"model":"haiku",`)
		c.Prefer = tt.prefer
		usable := func(name string) bool { return name != "cli" }
		_, err := route.New(route.Options{Backends: tt.backends, DefaultBackend: tt.byDefault, Usable: usable, Resolve: resolve}).Route(c)
		if err != nil || c.Backend != tt.want {
			t.Errorf("%s: backend = %q, %v, want %q", tt.name, c.Backend, err, tt.want)
		}
	}
}

func TestToolsGoWhereTheyWork(t *testing.T) {
	tools := `"tools":[{"name":"t"}],`
	suits := func(name string, c *gateway.Call) bool { return name != "cli" || !c.Request.HasTools }
	for _, tt := range []struct {
		name, members, prefer, byDefault string
		backends                         map[string]gateway.Backend
		usable                           string // "" for all
		want                             string
	}{
		{name: "both exist", members: tools, backends: both, want: "direct"},
		{name: "no tools", backends: both, want: "cli"},
		{name: "the caller insists", members: tools, prefer: "cli", backends: both, want: "cli"},
		{name: "the operator insists", members: tools, byDefault: "cli", backends: both, want: "cli"},
		{name: "only the CLI exists", members: tools, backends: cli, want: "cli"},
		{name: "the one that suits can't serve", members: tools, backends: both, usable: "cli", want: "cli"},
		{name: "the other can't serve", backends: both, usable: "direct", want: "direct"},
	} {
		c := call(t, `"model":"haiku",`+tt.members)
		c.Prefer = tt.prefer
		_, err := route.New(route.Options{
			Backends: tt.backends, DefaultBackend: tt.byDefault, Resolve: resolve, Suits: suits,
			Usable: func(name string) bool { return tt.usable == "" || name == tt.usable },
		}).Route(c)
		if err != nil || c.Backend != tt.want {
			t.Errorf("%s: backend = %q, %v, want %q", tt.name, c.Backend, err, tt.want)
		}
	}
}

func TestTokensAreCountedWhereTheyCanBe(t *testing.T) {
	for _, tt := range []struct {
		name, prefer, byDefault string
		backends                map[string]gateway.Backend
		want                    string
	}{
		{"both exist", "", "", both, "direct"},
		{"the CLI is the default", "", "cli", both, "direct"},
		{"the caller insists", "cli", "", both, "cli"},
		{"only the CLI exists", "", "", cli, "cli"},
	} {
		c := call(t, `"model":"haiku",`)
		c.Prefer, c.CountOnly = tt.prefer, true
		_, err := route.New(route.Options{Backends: tt.backends, DefaultBackend: tt.byDefault, Resolve: resolve}).Route(c)
		if err != nil || c.Backend != tt.want {
			t.Errorf("%s: backend = %q, %v, want %q", tt.name, c.Backend, err, tt.want)
		}
	}
}

func TestBackend(t *testing.T) {
	tests := []struct {
		name      string
		backends  map[string]gateway.Backend
		byDefault string
		prefer    string
		want      string
		refused   apierror.Category
	}{
		{"the CLI first", both, "", "", "cli", ""},
		{"what exists", direct, "", "", "direct", ""},
		{"the default", both, "direct", "", "direct", ""},
		{"an absent default", cli, "direct", "", "cli", ""},
		{"preferred", both, "cli", "direct", "direct", ""},
		{"preferred but absent", cli, "", "direct", "", apierror.BadRequest},
		{"nil is absent", direct, "", "cli", "", apierror.BadRequest},
		{"none", nil, "", "", "", apierror.Overloaded},
		{"none, preferred", nil, "", "cli", "", apierror.Overloaded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := route.New(route.Options{Backends: tt.backends, DefaultBackend: tt.byDefault, Resolve: resolve})
			c := call(t, `"model":"haiku",`)
			c.Prefer = tt.prefer
			backend, err := r.Route(c)
			if tt.refused != "" {
				e := apierror.From(err)
				if e == nil || e.Category != tt.refused {
					t.Fatalf("err = %v", err)
				}
				if tt.refused == apierror.BadRequest && (!strings.Contains(e.Message, "X-Claude-Backend") || !strings.Contains(e.Message, "use_cli")) {
					t.Errorf("message = %q", e.Message)
				}
				return
			}
			if err != nil || backend != gateway.Backend(named(tt.want)) || c.Backend != tt.want {
				t.Errorf("%v %q, %v", backend, c.Backend, err)
			}
		})
	}
}

func TestModel(t *testing.T) {
	few := int64(999)
	tests := []struct {
		name, members, want string
		budget              *int64
		refused             bool
	}{
		{name: "haiku", members: `"model":"haiku",`, want: "claude-haiku-5-5"},
		{name: "full id", members: `"model":"claude-3-opus-20240229",`, want: "claude-3-opus-20240229"},
		{name: "full id in a provider's spelling", members: `"model":"claude-opus-4-1@20250805[1m]",`, want: "claude-opus-4-1@20250805[1m]"},
		{name: "longer than any id", members: `"model":"claude-` + strings.Repeat("x", 122) + `",`, refused: true},
		{name: "with a terminal's control sequence", members: `"model":"claude-\u001b[2J",`, refused: true},
		{name: "with a space", members: `"model":"claude --help",`, refused: true},
		{name: "mapped to an alias", members: `"model":"gpt-4",`, want: "claude-opus-5-5"},
		{name: "mapped to an id", members: `"model":"small",`, want: "claude-tiny"},
		{name: "mapped to nothing", members: `"model":"odd",`, refused: true},
		{name: "unknown", members: `"model":"gpt-9",`, refused: true},
		{name: "an alias of the operator's", members: `"model":"house",`, want: "own-model"},
		{name: "a known id that begins otherwise", members: `"model":"own-model",`, want: "own-model"},
		{name: "absent", want: "claude-sonnet-5-5"},
		{name: "auto", members: `"model":"auto",`, want: "claude-sonnet-5-5"},
		{name: "auto reads the last message", members: `"model":"auto","messages":[{"role":"user","content":"debug"},{"role":"assistant","content":"x"},{"role":"user","content":[{"type":"image","source":{"type":"url"}},{"type":"text","text":"LIST the files"}]}]`, want: "claude-haiku-5-5"},
		{name: "auto with a large context", members: `"messages":[{"role":"user","content":"` + strings.Repeat("x ", 20_001) + `"}]`, want: "claude-opus-5-5"},
		{name: "auto with little budget", budget: &few, want: "claude-haiku-5-5"},
		{name: "auto with what only the upstream understands", members: `"messages":[{"role":"robot","content":"x"}]`, want: "claude-sonnet-5-5"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := route.New(route.Options{
				Backends: both, Resolve: resolve,
				ModelMap:   map[string]string{"gpt-4": "opus", "small": "claude-tiny", "odd": "gpt-4"},
				BudgetLeft: func(*gateway.Caller) *int64 { return tt.budget },
			})
			c := call(t, tt.members)
			_, err := r.Route(c)
			if tt.refused {
				if e := apierror.From(err); e == nil || e.Category != apierror.BadRequest || e.Param == "" {
					t.Fatalf("err = %v", err)
				}
				return
			}
			if err != nil || c.Model != tt.want {
				t.Errorf("%q, %v; want %q", c.Model, err, tt.want)
			}
		})
	}
	_, err := route.New(route.Options{Backends: both, Resolve: resolve}).Route(call(t, `"model":"gpt-4",`))
	if e := apierror.From(err); e == nil || e.Code != apierror.CodeModelNotFound || e.Status() != 404 || e.Param != "model" {
		t.Errorf("err = %v", err)
	}
}

func TestCheckModelMap(t *testing.T) {
	good := map[string]string{"gpt-4": "opus", "small": "claude-tiny", "known": "own-model", "again": "house"}
	if err := route.CheckModelMap(good, resolve); err != nil {
		t.Error(err)
	}
	for name, instead := range map[string]string{"ext": "gpt-5", "empty": "", "chosen": route.Auto, "chain": "gpt-4", "spaced": "claude --help"} {
		with := maps.Clone(good)
		with[name] = instead
		if err := route.CheckModelMap(with, resolve); err == nil || !strings.HasPrefix(err.Error(), name+" stands for ") {
			t.Errorf("%s for %q: %v", name, instead, err)
		}
	}
}

func TestRecommend(t *testing.T) {
	tokens := func(n int64) *int64 { return &n }
	long := strings.Repeat("word ", 20)
	tests := []struct {
		name, prompt string
		context      int
		budget       *int64
		want, reason string
	}{
		{"scarce budget", "analyze", 20_000, tokens(999), "haiku", "1000 tokens of the budget"},
		{"enough budget", "analyze", 20_000, tokens(1_000), "opus", "context is over 10000"},
		{"large context", "list", 10_001, nil, "opus", "context"},
		{"context at the bound", "hello", 10_000, nil, "sonnet", "default"},
		{"short and simple", "Please SHOW it", 0, nil, "haiku", `"show"`},
		{"simple before complex", "create a design", 0, nil, "haiku", `"create"`},
		{"long and simple", long + "list", 0, nil, "sonnet", "default"},
		{"99 characters", strings.Repeat("ä", 94) + " list", 0, nil, "haiku", `"list"`},
		{"100 characters", strings.Repeat("ä", 95) + " list", 0, nil, "sonnet", "default"},
		{"complex", "debug: this", 0, nil, "sonnet", `"debug"`},
		{"long and complex", long + "refactor", 0, nil, "sonnet", `"refactor"`},
		{"complex, low budget", "refactor", 0, tokens(4_999), "haiku", "5000 tokens"},
		{"complex, budget at the bound", "refactor", 0, tokens(5_000), "sonnet", `"refactor"`},
		{"words are whole", "the latest budget address", 0, nil, "sonnet", "default"},
		{"empty", "", 0, nil, "sonnet", "default"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			alias, reasoning := route.Recommend(tt.prompt, tt.context, tt.budget)
			if alias != tt.want || !strings.Contains(reasoning, tt.reason) {
				t.Errorf("%s: %s, want %s because of %s", alias, reasoning, tt.want, tt.reason)
			}
		})
	}
}

func TestToolsMayBeSwitchedOff(t *testing.T) {
	r := route.New(route.Options{Backends: both, RefuseTools: true, Resolve: resolve})
	if _, err := r.Route(call(t, `"model":"haiku","tools":[{"name":"t"}],`)); apierror.From(err).Category != apierror.Permission {
		t.Errorf("with tools: %v", err)
	}
	if _, err := r.Route(call(t, `"model":"haiku",`)); err != nil {
		t.Errorf("without: %v", err)
	}
}

// TestWorkGoesWhereTheToolsAre, whatever is the default, and nowhere else.
func TestWorkGoesWhereTheToolsAre(t *testing.T) {
	for _, tt := range []struct {
		name, prefer string
		agentic      gateway.Backend
		status       int // of the refusal; 0: none
	}{
		{"it is left open", "", named("agentic"), 0},
		{"the CLI is asked for", "cli", named("agentic"), 0},
		{"the direct path is asked for", "direct", named("agentic"), 400},
		{"there is none", "", nil, 501},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := route.New(route.Options{Backends: both, DefaultBackend: "direct", Agentic: tt.agentic, Resolve: resolve})
			c := call(t, `"model":"haiku",`)
			c.Prefer, c.Work = tt.prefer, &gateway.Work{}
			backend, err := r.Route(c)
			if tt.status != 0 {
				if e := apierror.From(err); e == nil || e.Status() != tt.status {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || backend != tt.agentic || c.Backend != "cli" || c.Model != "claude-haiku-5-5" {
				t.Errorf("%v, %s, %s, %v", backend, c.Backend, c.Model, err)
			}
		})
	}
}
