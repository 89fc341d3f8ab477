package simulator

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/sse"
)

func TestScan(t *testing.T) {
	base := New(Options{}).defaultDirectives()
	for _, test := range []struct {
		name, text, left, fault string
		want                    func(*directives)
	}{
		{name: "none", text: "plain", left: "plain"},
		{name: "several pairs", text: "a [[delay=1s tokens=5]] b [[hang]]", left: "a  b ",
			want: func(d *directives) { d.delay, d.tokens, d.hang = time.Second, 5, true }},
		{name: "unknown words are text", text: "[[wiki link]] [[tokens=2]]", left: "[[wiki link]] ",
			want: func(d *directives) { d.tokens = 2 }},
		{name: "no end", text: "x [[tokens=2", left: "x [[tokens=2"},
		{name: "text takes the rest", text: "[[interval=1ms text=a = b hang]]", left: "",
			want: func(d *directives) { d.interval, d.text, d.hasText = time.Millisecond, []byte("a = b hang"), true }},
		{name: "tools", text: `[[tool=a]][[tool=b input={"x":1} ]]`, left: "",
			want: func(d *directives) { d.tools = []toolCall{{name: "a"}, {name: "b", input: []byte(`{"x":1}`)}} }},
		{name: "brackets within", text: `[[tool=a input={"p":"[[tool=b input={\"q\":\"[[text=x]]\"}]]"} ]] [[text=a]]`, left: " ",
			want: func(d *directives) {
				d.tools = []toolCall{{name: "a", input: []byte(`{"p":"[[tool=b input={\"q\":\"[[text=x]]\"}]]"}`)}}
				d.text, d.hasText = []byte("a"), true
			}},
		{name: "faults", text: "[[error=529 retry-after=0 times=2]][[error-after=0 cut-after=1 hang-after=2 stop=refusal echo-system]]", left: "",
			want: func(d *directives) {
				d.status, d.retryAfter, d.times, d.stop, d.echoSystem = 529, 0, 2, "refusal", true
				d.errorAfter, d.cutAfter, d.hangAfter = 0, 1, 2
			}},
		{name: "bad duration", text: "[[delay=fast]]", fault: `"delay=fast" isn't`},
		{name: "negative duration", text: "[[delay=-1s]]", fault: "isn't"},
		{name: "bad status", text: "[[error=200]]", fault: "isn't"},
		{name: "too many tokens", text: "[[tokens=100001]]", fault: "isn't"},
		{name: "unknown after a known one", text: "[[tokens=1 explode]]", fault: `"explode" isn't`},
		{name: "input without tool", text: "[[input={}]]", fault: "must follow the tool"},
		{name: "input not JSON", text: "[[tool=a input={]]", fault: "must be a JSON object"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, want := base, base
			left, f := got.scan(nil, []byte(test.text))
			if test.fault != "" {
				if f == nil || !strings.Contains(f.message, test.fault) {
					t.Fatalf("fault %+v", f)
				}
				return
			}
			if f != nil || string(left) != test.left {
				t.Fatalf("left %q, fault %+v", left, f)
			}
			if test.want != nil {
				test.want(&want)
			}
			if !equalDirectives(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestStep(t *testing.T) {
	const text = `a [[tool=x input={"p":"[[text=b]] [[then]] [[text=c]]"}]] [[then]] d [[then]] e`
	for n, want := range []string{`a [[tool=x input={"p":"[[text=b]] [[then]] [[text=c]]"}]] `, " d ", " e", ""} {
		if got := string(step([]byte(text), n)); got != want {
			t.Errorf("step %d is %q", n, got)
		}
	}
	for _, plain := range []string{"", "plain", "[[text=[[then]]", "x [[then"} {
		if got := string(step([]byte(plain), 0)); got != plain || len(step([]byte(plain), 1)) != 0 {
			t.Errorf("step 0 of %q is %q", plain, got)
		}
	}
}

func equalDirectives(a, b directives) bool {
	if !bytes.Equal(a.text, b.text) || len(a.tools) != len(b.tools) {
		return false
	}
	for i := range a.tools {
		if a.tools[i].name != b.tools[i].name || !bytes.Equal(a.tools[i].input, b.tools[i].input) {
			return false
		}
	}
	return a.delay == b.delay && a.interval == b.interval && a.tokens == b.tokens && a.hasText == b.hasText &&
		a.echoSystem == b.echoSystem && a.stop == b.stop && a.status == b.status && a.retryAfter == b.retryAfter &&
		a.times == b.times && a.errorAfter == b.errorAfter && a.cutAfter == b.cutAfter && a.hangAfter == b.hangAfter && a.hang == b.hang
}

func TestErrorDirective(t *testing.T) {
	for status, kind := range map[string]string{
		"400": "invalid_request_error", "401": "authentication_error", "402": "billing_error", "403": "permission_error",
		"404": "not_found_error", "413": "request_too_large", "422": "invalid_request_error", "429": "rate_limit_error",
		"500": "api_error", "503": "api_error", "504": "timeout_error", "529": "overloaded_error",
	} {
		t.Run(status, func(t *testing.T) {
			r := newRequest(t, http.MethodPost, "/v1/messages", ask("hi", `,"stream":true`))
			r.Header.Set("X-Simulator", "error="+status+" retry-after=3")
			w := httptest.NewRecorder()
			New(Options{}).ServeHTTP(w, r)
			e := readError(t, w)
			if e.Error.Type != kind || e.Error.Message == "" || w.Header().Get("Retry-After") != "3" {
				t.Errorf("%+v, header %v", e, w.Header())
			}
			if got := w.Result().Status; !strings.HasPrefix(got, status) {
				t.Errorf("status %s", got)
			}
		})
	}
}

func TestErrorTimes(t *testing.T) {
	s := New(Options{})
	var statuses []int
	for range 4 {
		statuses = append(statuses, post(t, s, ask("[[error=500 times=2]] try", "")).Code)
	}
	other := post(t, s, ask("[[error=500 times=1]] another", "")).Code
	if statuses[0] != 500 || statuses[1] != 500 || statuses[2] != 200 || statuses[3] != 200 || other != 500 {
		t.Errorf("statuses %v, then %d", statuses, other)
	}
}

func TestPromptWinsOverHeaderAndOptions(t *testing.T) {
	s := New(Options{Tokens: 3})
	for _, test := range []struct {
		name, header, prompt string
		tokens               int64
	}{
		{"options", "", "x", 3},
		{"header", "tokens=4", "x", 4},
		{"prompt", "tokens=4", "[[tokens=5]] x", 5},
	} {
		r := newRequest(t, http.MethodPost, "/v1/messages", ask(test.prompt, ""))
		if test.header != "" {
			r.Header.Set("X-Simulator", test.header)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if got := answer200(t, w); got.Usage.Output != test.tokens {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
}

func TestAnswersDifferByPromptAndRepeat(t *testing.T) {
	text := func(prompt string) string {
		return answer200(t, post(t, New(Options{}), ask("[[tokens=20]]"+prompt, ""))).Content[0].Text
	}
	a, again, b := text("a"), text("a"), text("b")
	if a == b || a != again {
		t.Errorf("a: %s, %s; b: %s", a, again, b)
	}
}

func TestDelays(t *testing.T) {
	for _, test := range []struct {
		name, prompt, more string
		want               time.Duration
	}{
		{"at once", "x", "", 0},
		{"delay", "[[delay=300ms]]", "", 300 * time.Millisecond},
		{"stream", "[[delay=300ms tokens=50 interval=20ms]]", `,"stream":true`, 300*time.Millisecond + 49*20*time.Millisecond},
		{"plain", "[[delay=300ms tokens=50 interval=20ms]]", "", 300*time.Millisecond + 49*20*time.Millisecond},
		{"error", "[[delay=1m error=504]]", "", time.Minute},
		{"thinking", "[[interval=1s text=two words]]", `,"thinking":{"type":"adaptive","display":"omitted"}`, 2 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				post(t, New(Options{}), ask(test.prompt, test.more))
				if took := time.Since(began); took != test.want {
					t.Errorf("took %v, want %v", took, test.want)
				}
			})
		})
	}
}

// arrivals is a ResponseWriter that notes when each flush comes.
type arrivals struct {
	*httptest.ResponseRecorder
	began time.Time
	at    []time.Duration
}

func (a *arrivals) Flush() { a.at = append(a.at, time.Since(a.began)) }

func TestIntervalFlushesEachDelta(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &arrivals{ResponseRecorder: httptest.NewRecorder(), began: time.Now()}
		New(Options{}).ServeHTTP(w, newRequest(t, http.MethodPost, "/v1/messages",
			ask("[[delay=1s tokens=4 interval=2s]]", `,"stream":true`)))
		want := []time.Duration{time.Second, 3 * time.Second, 5 * time.Second}
		if len(w.at) != len(want) || w.at[0] != want[0] || w.at[1] != want[1] || w.at[2] != want[2] {
			t.Errorf("flushes at %v, want %v", w.at, want)
		}
	})
}

func TestFaultsInMidstream(t *testing.T) {
	for _, test := range []struct {
		name, prompt, last string
		deltas             int
		err                error
	}{
		{"whole", "[[tokens=5]]", "message_stop", 5, io.EOF},
		{"error", "[[tokens=5 error-after=3]]", "error", 3, io.EOF},
		{"error before any", "[[error-after=0]]", "error", 0, io.EOF},
		{"error after the last", "[[tokens=5 error-after=9]]", "error", 5, io.EOF},
		{"cut", "[[tokens=5 cut-after=3]]", "content_block_delta", 3, io.ErrUnexpectedEOF},
		{"cut after a wait", "[[tokens=5 interval=1ms cut-after=2]]", "content_block_delta", 2, io.ErrUnexpectedEOF},
		{"long and cut", "[[tokens=2000 cut-after=1900]]", "content_block_delta", 1900, io.ErrUnexpectedEOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, url := start(t, Options{})
			body := strings.Replace(ask(test.prompt, `,"stream":true`), "1000", "9000", 1)
			response, err := client(t).Do(newRequest(t, http.MethodPost, url+"/v1/messages", body))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = response.Body.Close() }()
			if response.ContentLength != -1 || !strings.HasPrefix(response.Header.Get("Content-Type"), sse.ContentType) {
				t.Errorf("length %d, header %v", response.ContentLength, response.Header)
			}
			events := sse.NewReader(response.Body, 1<<16)
			deltas, last := 0, ""
			frame, err := events.Next()
			for ; err == nil; frame, err = events.Next() {
				last = string(frame.Event)
				if last == "content_block_delta" {
					deltas++
				}
			}
			if !errors.Is(err, test.err) || last != test.last || deltas != test.deltas {
				t.Errorf("%d deltas, last %s, %v", deltas, last, err)
			}
		})
	}
}

func TestFaultsOfPlainAnswers(t *testing.T) {
	s, url := start(t, Options{})
	if w := post(t, s, ask("[[error-after=3]]", "")); w.Code != statusOverloaded {
		t.Errorf("error-after: %d", w.Code)
	}
	response, err := client(t).Do(newRequest(t, http.MethodPost, url+"/v1/messages", ask("[[cut-after=1]] cut", "")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if !errors.Is(err, io.ErrUnexpectedEOF) || len(body) == 0 || int64(len(body)) >= response.ContentLength {
		t.Errorf("cut-after: %d of %d bytes, %v", len(body), response.ContentLength, err)
	}
}

// client makes an HTTP client that leaves no connection behind.
func client(t testing.TB) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 1000}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
