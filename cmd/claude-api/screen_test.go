package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

func TestScreenWriter(t *testing.T) {
	const text = "{\"a\":\"é\u009b31m\u202e𝄞\U000e0001\x9b\x1b]0;\"}\n\t"
	for _, test := range []struct {
		name    string
		instead func(rune) string
		want    string
	}{
		{"JSON", escaped, `{"a":"é\u009b31m\u202e𝄞\udb40\udc01` + "\ufffd" + `\u001b]0;"}` + "\n\t"},
		{"text", func(rune) string { return "?" }, "{\"a\":\"é?31m?𝄞?\ufffd?]0;\"}\n\t"},
	} {
		for size := 1; size <= len(text); size++ {
			var out strings.Builder
			w := &screenWriter{w: &out, instead: test.instead}
			for rest := text; rest != ""; {
				n := min(size, len(rest))
				if written, err := w.Write([]byte(rest[:n])); written != n || err != nil {
					t.Fatal(written, err)
				}
				rest = rest[n:]
			}
			if out.String() != test.want {
				t.Errorf("%s in pieces of %d: %q", test.name, size, out.String())
			}
		}
	}
	if _, same := screenSafe(&strings.Builder{}, formJSON).(*strings.Builder); !same {
		t.Error("what isn't a terminal gets another text")
	}
}

// Nothing that a task, a model or a caller says steers the terminal of whoever looks.
func TestNothingSteersATerminal(t *testing.T) {
	const evil = "\u009b31m\x1b]0;owned\a"
	quoted, err := json.Marshal(evil)
	if err != nil {
		t.Fatal(err)
	}
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/tasks/t/events":
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprintf(w, "id: 1\nevent: text\ndata: {\"type\":\"text\",\"agent\":%[1]s,\"content\":%[1]s}\n\n", quoted)
			fmt.Fprint(w, "id: 2\nevent: result\ndata: {\"type\":\"result\",\"status\":\"completed\",\"result\":\"end\"}\n\n")
		case "/v1/tasks":
			fmt.Fprintf(w, `{"tasks":[{"id":%s,"status":"completed"}]}`, quoted)
		default:
			fmt.Fprintf(w, `{"id":%[1]s,"status":%[1]s,"content":%[1]s,"metadata":{"warnings":[%[1]s],"actual_model":%[1]s}}`, quoted)
		}
	}))
	defer service.Close()
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "service.log"), []byte("level=INFO "+evil+"\nend\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := append(environment(t), "CLAUDE_API_URL="+service.URL, keyVariable+"=secret", "NO_COLOR=1")
	for _, line := range []string{
		"tasks logs t", "tasks logs t --json", "tasks list", "tasks list -o json", "tasks list -o csv", "tasks get t", "tasks get t -o json",
		"process send x", "process send x -v", "process send x -o json", "process send x --async", "service logs --data-dir=" + data,
	} {
		v := inTerminal(t, env, 200, 40, strings.Fields(line)...)
		if code := v.exit(t); code != exitDone {
			t.Errorf("%s: exit code %d", line, code)
		}
		eventually(t, patience, line+" has printed", func() bool { return strings.Contains(v.stdout.String(), "\n") })
		if text := v.stdout.String(); strings.TrimSpace(text) == "" || strings.ContainsAny(text, "\x1b\a\u009b") {
			t.Errorf("%s: %q", line, text)
		}
	}
	if text := command(t, env, "tasks", "logs", "t", "--json"); !strings.Contains(text, "\u009b31m") {
		t.Errorf("for a program the text is another: %q", text)
	}
}
