package protocol_test

import (
	"errors"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol"
)

func TestWork(t *testing.T) {
	caller := &gateway.Caller{Permissions: gateway.Permissions{AllowedTools: []string{"Read", "Glob"}, WorkingDirectories: []string{"/usr"}}}
	for _, test := range []struct {
		name             string
		tools, directory string // JSON
		invalid          bool
		asked            [2]bool
		forbidden        string // the field
	}{
		{name: "nothing", tools: `null`, directory: `null`},
		{name: "nothing, in other words", tools: `[]`, directory: `""`},
		{name: "what is allowed", tools: `["Read","Glob"]`, directory: `"/usr/bin"`, asked: [2]bool{true, true}},
		{name: "a tool that isn't", tools: `["Read","Bash"]`, directory: `""`, asked: [2]bool{true, false}, forbidden: "allowed_tools"},
		{name: "a folder that isn't", tools: `["Read"]`, directory: `"/etc"`, asked: [2]bool{true, true}, forbidden: "working_directory"},
		{name: "a folder that leads out", tools: `null`, directory: `"/usr/../etc"`, asked: [2]bool{false, true}, forbidden: "working_directory"},
		{name: "a text for tools", tools: `"Read"`, directory: `null`, invalid: true},
		{name: "numbers for tools", tools: `[1]`, directory: `null`, invalid: true},
		{name: "a list for a folder", tools: `null`, directory: `["/srv"]`, invalid: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var w protocol.Work
			var pool protocol.Scanners
			s := pool.Get([]byte(test.tools))
			tools, err1 := w.ReadTools(s)
			s.Reset([]byte(test.directory))
			directory, err2 := w.ReadDirectory(s)
			if err := errors.Join(err1, err2); (err != nil) != test.invalid {
				t.Fatalf("read: %v", err)
			}
			if test.invalid {
				return
			}
			if got := [2]bool{tools, directory}; got != test.asked {
				t.Errorf("asked %v, want %v", got, test.asked)
			}
			err := w.Permitted(gateway.New(gateway.Options{Roots: []string{"/"}}), caller)
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
