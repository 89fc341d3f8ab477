package protocol_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol"
)

func TestWork(t *testing.T) {
	caller := &gateway.Caller{Permissions: gateway.Permissions{
		AllowedTools: []string{"Read", "Glob"}, WorkingDirectories: []string{"/usr"}, MaxTimeout: time.Minute,
	}}
	seconds := func(n float64) *float64 { return &n }
	for _, test := range []struct {
		name             string
		tools, directory string // JSON
		timeout          *float64
		invalid          bool
		want             *gateway.Work
		forbidden        string // the field
	}{
		{name: "nothing", tools: `null`, directory: `null`, timeout: seconds(300)},
		{name: "nothing, in other words", tools: `[]`, directory: `""`},
		{name: "what is allowed", tools: `["Read","Glob"]`, directory: `"/usr/bin"`, timeout: seconds(60), want: &gateway.Work{Tools: []string{"Read", "Glob"}, Directory: "/usr/bin", Timeout: time.Minute}},
		{name: "a tool alone", tools: `["Read"]`, directory: `null`, want: &gateway.Work{Tools: []string{"Read"}, Timeout: time.Minute}},
		{name: "a folder alone", tools: `null`, directory: `"/usr"`, want: &gateway.Work{Tools: []string{gateway.All}, Directory: "/usr", Timeout: time.Minute}},
		{name: "a tool that isn't", tools: `["Read","Bash"]`, directory: `""`, forbidden: "allowed_tools"},
		{name: "every tool", tools: `["*"]`, directory: `""`, forbidden: "allowed_tools"},
		{name: "a folder that isn't", tools: `["Read"]`, directory: `"/etc"`, forbidden: "working_directory"},
		{name: "a folder that leads out", tools: `null`, directory: `"/usr/../etc"`, forbidden: "working_directory"},
		{name: "too long", tools: `["Read"]`, directory: `null`, timeout: seconds(60.5), forbidden: "timeout"},
		{name: "a text for tools", tools: `"Read"`, directory: `null`, invalid: true},
		{name: "too many tools", tools: `["Read"` + strings.Repeat(`,"Read"`, gateway.MaxNames) + `]`, directory: `null`, invalid: true},
		{name: "a tool that is too long", tools: `["Read(` + strings.Repeat("x", gateway.MaxName) + `)"]`, directory: `null`, invalid: true},
		{name: "numbers for tools", tools: `[1]`, directory: `null`, invalid: true},
		{name: "a list for a folder", tools: `null`, directory: `["/srv"]`, invalid: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var w protocol.Work
			var pool protocol.Scanners
			s := pool.Get([]byte(test.tools))
			err := w.ReadTools(s)
			s.Reset([]byte(test.directory))
			if err := errors.Join(err, w.ReadDirectory(s)); (err != nil) != test.invalid {
				t.Fatalf("read: %v", err)
			}
			if test.invalid {
				return
			}
			call := &gateway.Call{Caller: caller}
			err = w.Ask(gateway.New(gateway.Options{Roots: []string{"/"}}), call, test.timeout)
			if !reflect.DeepEqual(call.Work, test.want) || call.Metered != (test.want != nil) {
				t.Errorf("the call asks for %+v, metered %v", call.Work, call.Metered)
			}
			var e *apierror.Error
			switch {
			case test.forbidden == "" && err != nil:
				t.Error(err)
			case test.forbidden != "" && (!errors.As(err, &e) || e.Category != apierror.Permission || e.Param != test.forbidden):
				t.Errorf("err = %v, want a refusal of %s", err, test.forbidden)
			}
		})
	}
}
