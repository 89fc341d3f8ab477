package simulator

import (
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves a simulator until the test ends.
func start(t testing.TB, options Options) (*Simulator, string) {
	t.Helper()
	s := New(options)
	url, err := s.Start("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, url
}

// newRequest makes a Messages request with the header that the API wants.
func newRequest(t testing.TB, method, url, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Api-Key", "sk-simulator")
	r.Header.Set("Anthropic-Version", "2023-06-01")
	return r
}

// post runs one Messages request without a socket.
func post(t testing.TB, s *Simulator, body string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, newRequest(t, http.MethodPost, "/v1/messages", body))
	return w
}

// ask is the body of a request with one prompt, and further members.
func ask(prompt, more string) string {
	return `{"model":"claude-sonnet-5-5","max_tokens":1000,"messages":[{"role":"user","content":` +
		string(appendQuote(nil, prompt)) + `}]` + more + `}`
}

// askHaiku asks a model that takes a forced choice of tools.
func askHaiku(prompt, more string) string {
	return strings.Replace(ask(prompt, more), "claude-sonnet-5-5", "claude-haiku-5-5", 1)
}

func TestGoldenStreams(t *testing.T) {
	const weather = `,"tools":[{"name":"get_weather","input_schema":{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer","minimum":2}},"required":["city","days"]}}]`
	for _, test := range []struct{ name, body string }{
		{"text", ask("hello there, world", `,"stream":true`)},
		{"thinking", ask("why", `,"stream":true,"thinking":{"type":"adaptive","display":"summarized"}`)},
		{"citations", `{"model":"claude-opus-5-5","max_tokens":99,"stream":true,"messages":[{"role":"user","content":[{"type":"document","title":"Rules","citations":{"enabled":true},"source":{"type":"text","media_type":"text/plain","data":"Be kind. Be brief."}},{"type":"text","text":"what are the rules?"}]}]}`},
		{"web_search", ask(`[[tool=web_search input={"query":"Go 2"}]] is there a Go 2?`, `,"stream":true,"tools":[{"type":"web_search_20260209","name":"web_search"}]`)},
		{"two_tools", ask("[[tool=a tool=b]]", `,"stream":true,"tools":[{"name":"a","input_schema":{"type":"object"}},{"name":"b","input_schema":{"type":"object"}}]`)},
		{"tool_use", askHaiku("weather?", `,"stream":true,"tool_choice":{"type":"any"}`+weather)},
		{"error", ask("[[tokens=9 error-after=2]] break", `,"stream":true`)},
		{"plain", ask("say \"it\"\nin two lines", "")},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := New(Options{})
			s.nonce = "0000000000" // the rest of an id counts
			got := post(t, s, test.body).Body.String()
			file := "testdata/" + test.name + ".txt"
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestStartServes(t *testing.T) {
	s, url := start(t, Options{KeepBodies: 2})
	if _, err := s.Start(""); err == nil {
		t.Error("a second Start succeeded")
	}
	body := ask("hi", "")
	response, err := http.DefaultTransport.RoundTrip(newRequest(t, http.MethodPost, url+"/v1/messages?beta=true", body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(answer), `"Echo: hi"`) {
		t.Fatalf("%d %s %v", response.StatusCode, answer, err)
	}
	requests := s.Requests()
	if len(requests) != 1 || string(requests[0].Body) != body || requests[0].Query != "beta=true" {
		t.Errorf("recorded %+v", requests)
	}
	if stats := s.Stats(); stats.Requests["/v1/messages"] != 1 || stats.ConnectionsOpened != 1 {
		t.Errorf("stats %+v", stats)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	s.Close()
	s.Close()
	if _, err := s.Start(""); err != nil {
		t.Errorf("Start after Close: %v", err)
	}
}
