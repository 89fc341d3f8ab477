package meter_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"claude-code-api-service/internal/admission"
	"claude-code-api-service/internal/anthropic"
	"claude-code-api-service/internal/anthropicapi"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/meter"
	"claude-code-api-service/internal/pricing"
	"claude-code-api-service/internal/route"
	"claude-code-api-service/internal/simulator"
	"claude-code-api-service/internal/sqlite"
	"claude-code-api-service/internal/usage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// credential is the service's own, which no process may see.
const credential = "sk-of-the-service"

// service is a meter among real rooms.
type service struct {
	*meter.Meter
	upstream *simulator.Simulator
	db       *sqlite.DB
	admitter *admission.Admitter
	observer *heard
}

// heard keeps what the metrics hear.
type heard struct {
	mu      sync.Mutex
	entries []gateway.Entry
}

func (h *heard) Observe(entry gateway.Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries = append(h.entries, entry)
}

// prices tells the admission of models.
type prices struct{ *pricing.Catalogue }

func (p prices) ContextWindow(model string) int64 {
	m, _ := p.Find(model)
	return int64(m.ContextWindow)
}

func (p prices) Price(model string, prompt int64, hour bool) (input, output int64, known bool) {
	return p.Dearest(model, time.Now(), prompt, hour)
}

func start(t testing.TB, login bool) *service {
	t.Helper()
	return startWith(t, login, func(*anthropic.Options) {})
}

// startWith changes how the upstream is asked.
func startWith(t testing.TB, login bool, change func(o *anthropic.Options)) *service {
	t.Helper()
	s := &service{upstream: simulator.New(simulator.Options{KeepBodies: 100}), observer: &heard{}}
	url, err := s.upstream.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.upstream.Close)
	if s.db, err = sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "usage.db")}); err != nil {
		t.Fatal(err)
	}
	ledger := usage.NewLedger(usage.Options{Store: s.db})
	t.Cleanup(func() { _ = ledger.Close(context.WithoutCancel(t.Context())); _ = s.db.Close() })
	catalogue, err := pricing.New(pricing.Options{})
	if err != nil {
		t.Fatal(err)
	}
	options := anthropic.Options{BaseURL: url, Price: catalogue.Cost, CallersLogin: login}
	if !login {
		options.APIKey = credential
	}
	change(&options)
	direct, err := anthropic.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(direct.Close)
	s.admitter = admission.New(admission.Options{Store: s.db, Models: prices{catalogue}})
	router := route.New(route.Options{Backends: map[string]gateway.Backend{gateway.BackendDirect: direct}, Resolve: catalogue.Resolve})
	s.Meter = meter.New(meter.Options{
		Walk: func() gateway.Options {
			return gateway.Options{Admitter: s.admitter, Router: router, Recorder: ledger, Observer: s.observer, Priced: catalogue.Priced}
		},
		Serve: func(g *gateway.Gateway) http.Handler {
			mux := http.NewServeMux()
			anthropicapi.New(anthropicapi.Options{Gateway: g, Models: []anthropicapi.Model{{ID: "haiku"}}}).Register(mux)
			return mux
		},
		Login: login,
	})
	t.Cleanup(s.Close)
	return s
}

func (s *service) open(t testing.TB, r meter.Run) *meter.Account {
	t.Helper()
	a, err := s.Open(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// rows is the whole ledger.
func (s *service) rows(t testing.TB) []usage.Row {
	t.Helper()
	rows, err := s.db.ListUsage(t.Context(), 0, 1000, usage.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// caller may ask once a minute, and one at a time.
func caller() *gateway.Caller {
	limits := gateway.RateLimits{RequestsPerMinute: 1, ConcurrentRequests: 1}
	return &gateway.Caller{KeyID: "key_1", ProjectID: "alpha", Key: limits, Project: limits}
}

func prompt(stream, model, words string) string {
	return `{"model":"` + model + `","max_tokens":400,"stream":` + stream + `,"messages":[{"role":"user","content":"` + words + `"}]}`
}

// send makes one request as a process does, and reads the answer to its end.
func send(ctx context.Context, a *meter.Account, method, path, token, body string) (status int, answer string, err error) {
	r, err := http.NewRequestWithContext(ctx, method, a.BaseURL()+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("X-Api-Key", token)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	got, err := io.ReadAll(response.Body)
	return response.StatusCode, string(got), err
}

func ask(t testing.TB, a *meter.Account, method, path, body string) (status int, answer string) {
	t.Helper()
	status, answer, err := send(t.Context(), a, method, path, a.Token(), body)
	if err != nil {
		t.Fatal(err)
	}
	return status, answer
}

// TestCallsAreTheCallers: each call of a run is admitted, charged and recorded as one of
// its caller, whose requests a minute and at once were taken by the run itself; and the
// upstream sees the service's credential, the process doesn't.
func TestCallsAreTheCallers(t *testing.T) {
	s := start(t, false)
	a := s.open(t, meter.Run{ID: "run_7", Endpoint: "/v1/task", Caller: caller()})
	outer := &gateway.Call{Caller: caller()}
	if err := s.admitter.Admit(t.Context(), outer); err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{"true", "false", "true"} {
		status, answer := ask(t, a, "POST", "/v1/messages?beta=true", prompt(stream, "claude-haiku-5-5", "good day [[tokens=9]]"))
		if status != 200 || !strings.Contains(answer, `"output_tokens":9`) || strings.Contains(answer, credential) {
			t.Errorf("%d %s", status, answer)
		}
	}
	if status, answer := ask(t, a, "POST", "/v1/messages/count_tokens", prompt("false", "claude-haiku-5-5", "good day")); status != 200 || !strings.Contains(answer, "input_tokens") {
		t.Errorf("count: %d %s", status, answer)
	}
	if status, answer := ask(t, a, "GET", "/v1/models?limit=1000", ""); status != 200 || !strings.Contains(answer, "haiku") {
		t.Errorf("models: %d %s", status, answer)
	}
	a.Close()
	s.admitter.Release(outer, gateway.Result{})

	var cost, output int64
	rows := s.rows(t)
	for i, row := range rows {
		if want := []string{"run_7.1", "run_7.2", "run_7.3", "run_7.4"}[i]; row.RequestID != want || row.Endpoint != "/v1/task" || row.KeyID != "key_1" || row.ProjectID != "alpha" || row.Status != 200 {
			t.Errorf("row %+v, want %s", row, want)
		}
		cost, output = cost+*row.CostMicroUSD, output+row.Usage.OutputTokens
	}
	got := a.Totals()
	if len(rows) != 4 || got.Calls != 3 || got.Exhausted || got.Usage.OutputTokens != output || output != 27 || got.CostMicroUSD == nil || *got.CostMicroUSD != cost || cost == 0 {
		t.Errorf("totals %+v, the ledger says %d and %d in %d rows", got, output, cost, len(rows))
	}
	for _, entry := range s.observer.entries {
		if !entry.Part || entry.Endpoint != "/v1/task" || entry.Address != "" || entry.Caller.Key.RequestsPerMinute != 1 {
			t.Errorf("heard of %+v", entry)
		}
	}
	for _, r := range s.upstream.Requests() {
		header := &bytes.Buffer{}
		_ = r.Header.Write(header)
		if r.Header.Get("X-Api-Key") != credential || strings.Contains(header.String()+string(r.Body), a.Token()) {
			t.Errorf("the upstream got %s", header)
		}
	}
	sums, err := s.db.SumUsage(t.Context(), usage.Filter{})
	if err != nil || len(sums) != 1 || sums[0].Requests != 0 || sums[0].CostMicroUSD != cost {
		t.Errorf("the report says %+v, %v", sums, err)
	}
}

// TestMaxCostIsExact with 64 calls at once, as sub-agents make them, each for all that
// it may get.
func TestMaxCostIsExact(t *testing.T) {
	s := start(t, false)
	const most = 20_000
	body := prompt("true", "claude-sonnet-5-5", "again and again [[tokens=2000]]")
	a := s.open(t, meter.Run{ID: "run_1", Endpoint: "/v1/task", Caller: caller(), MaxCostMicroUSD: most})
	// Its caller has chosen the same name again.
	other := s.open(t, meter.Run{ID: "run_1", Endpoint: "/v1/task", Caller: caller(), MaxCostMicroUSD: most})
	served, refused := 0, 0
	for !a.Totals().Exhausted {
		var mu sync.Mutex
		var calls sync.WaitGroup
		for range 64 {
			calls.Go(func() {
				status, answer, err := send(t.Context(), a, "POST", "/v1/messages", a.Token(), body)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case status == 200:
					served++
				case status == http.StatusTooManyRequests || status == http.StatusPaymentRequired && strings.Contains(answer, "the run's budget"):
					refused++
				default:
					t.Errorf("%d %s, %v", status, answer, err)
				}
				if got := a.Totals(); *got.CostMicroUSD > most {
					t.Errorf("%d are spent of %d", *got.CostMicroUSD, most)
				}
			})
		}
		calls.Wait()
	}
	var cost int64
	for _, row := range s.rows(t) {
		if row.CostMicroUSD != nil {
			cost += *row.CostMicroUSD
		}
	}
	got := a.Totals()
	if served < 2 || refused == 0 || got.Calls != served || *got.CostMicroUSD != cost || cost > most || cost < most/2 {
		t.Errorf("%d served, %d refused, %+v, cost %d of %d", served, refused, got, cost, most)
	}
	if status, answer := ask(t, other, "POST", "/v1/messages", body); status != 200 {
		t.Errorf("another run: %d %s", status, answer)
	}
}

// TestALimitOfTheCallers refuses a call as it does any other, and the run hears why.
func TestALimitOfTheCallers(t *testing.T) {
	s := start(t, false)
	poor := caller()
	poor.Budgets = []budget.Limit{{Owner: budget.Owner{Kind: budget.Key, ID: poor.KeyID}, Period: budget.Day, Unit: budget.Tokens, Hard: 1_000}}
	a := s.open(t, meter.Run{ID: "run_1", Endpoint: "/v1/task", Caller: poor, MaxCostMicroUSD: 1_000_000})
	body := prompt("false", "claude-haiku-5-5", "hello")
	if status, answer := ask(t, a, "POST", "/v1/messages", body); status != http.StatusPaymentRequired || !strings.Contains(answer, "the key's budget") {
		t.Errorf("%d %s", status, answer)
	}
	if got := a.Totals(); got.Exhausted || got.Failure == nil || got.Failure.Category != apierror.BudgetExceeded {
		t.Errorf("%+v", got)
	}
}

// TestNobodyElseIsServed, and nothing else.
func TestNobodyElseIsServed(t *testing.T) {
	s := start(t, false)
	a := s.open(t, meter.Run{ID: "run_1", Endpoint: "/v1/task", Caller: caller()})
	waiting := s.open(t, meter.Run{})
	closed := s.open(t, meter.Run{ID: "run_2", Endpoint: "/v1/task", Caller: caller()})
	closed.Close()
	closed.Close()
	body := prompt("false", "claude-haiku-5-5", "hello")
	for name, token := range map[string]string{"none": "", "another": strings.Repeat("0", 64), "one that waits": waiting.Token(), "one that was closed": closed.Token()} {
		status, answer, err := send(t.Context(), a, "POST", "/v1/messages", token, body)
		if status != http.StatusUnauthorized || !strings.Contains(answer, "authentication_error") || err != nil {
			t.Errorf("%s: %d %s, %v", name, status, answer, err)
		}
	}
	for _, path := range []string{"/", "/health", "/metrics", "/v1/task", "/v1/chat/completions", "/v1/usage"} {
		if status, answer := ask(t, a, "POST", path, body); status != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
	for _, path := range []string{"/", "/api/hello"} {
		if status, _, err := send(t.Context(), a, "HEAD", path, "", ""); status != http.StatusOK || err != nil {
			t.Errorf("HEAD %s: %d, %v", path, status, err)
		}
	}
	if len(a.Token()) != 64 || a.Token() == waiting.Token() || len(s.rows(t)) != 0 || len(s.upstream.Requests()) != 0 {
		t.Errorf("token %q, rows %v", a.Token(), s.rows(t))
	}
	if want := []string{"ANTHROPIC_BASE_URL=" + a.BaseURL(), "ANTHROPIC_API_KEY=" + a.Token()}; strings.Join(a.Env(), " ") != strings.Join(want, " ") {
		t.Errorf("the environment %q", a.Env())
	}
}

// TestUse: a process that waits gets its work, and another when that is done, each with
// totals and a limit of its own.
func TestUse(t *testing.T) {
	s := start(t, false)
	a := s.open(t, meter.Run{})
	if got := a.Totals(); got.Calls != 0 || *got.CostMicroUSD != 0 {
		t.Errorf("before it has any: %+v", got)
	}
	for _, id := range []string{"turn_1", "turn_2"} {
		a.Use(meter.Run{ID: id, Endpoint: "/v1/chat/completions", Caller: caller(), MaxCostMicroUSD: 9_000})
		if status, answer := ask(t, a, "POST", "/v1/messages", prompt("true", "claude-haiku-5-5", "hello [[tokens=5]]")); status != 200 {
			t.Errorf("%s: %d %s", id, status, answer)
		}
		if got := a.Totals(); got.Calls != 1 || got.Usage.OutputTokens != 5 {
			t.Errorf("%s: %+v", id, got)
		}
	}
	a.Close()
	a.Use(meter.Run{ID: "turn_3", Endpoint: "/v1/chat/completions", Caller: caller()})
	if status, _ := ask(t, a, "POST", "/v1/messages", prompt("true", "claude-haiku-5-5", "hello")); status != http.StatusUnauthorized {
		t.Errorf("after the end: %d", status)
	}
	if rows := s.rows(t); len(rows) != 2 || rows[0].RequestID != "turn_1.1" || rows[1].RequestID != "turn_2.1" {
		t.Errorf("rows %+v", rows)
	}
}

// TestCloseEndsWhatIsOpen, with its row, and a process that has stopped reading too.
func TestCloseEndsWhatIsOpen(t *testing.T) {
	s := start(t, false)
	a := s.open(t, meter.Run{ID: "run_1", Endpoint: "/v1/task", Caller: caller()})
	connection, err := net.Dial("tcp", strings.TrimPrefix(a.BaseURL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	body := prompt("true", "claude-haiku-5-5", "hello [[tokens=20 hang-after=3]]")
	request := "POST /v1/messages HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + a.Token() + "\r\nContent-Length: "
	if _, err := io.WriteString(connection, request+strconv.Itoa(len(body))+"\r\n\r\n"+body); err != nil {
		t.Fatal(err)
	}
	if err := s.upstream.Wait(t.Context(), func(stats simulator.Stats) bool { return stats.Streams == 1 }); err != nil {
		t.Fatal(err)
	}
	stalled, err := net.Dial("tcp", strings.TrimPrefix(a.BaseURL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stalled.Close() }()
	if _, err := io.WriteString(stalled, request+"1000\r\nExpect: 100-continue\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	// It is asked to go on once its call has begun.
	if line, err := bufio.NewReader(stalled).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q, %v", line, err)
	}
	a.Close()
	rows := s.rows(t)
	if len(rows) != 1 || rows[0].Category != "client_closed" || a.Totals().Calls != 1 {
		t.Errorf("rows %+v, %+v", rows, a.Totals())
	}
	s.Close()
	if _, err := s.Open(t.Context(), meter.Run{}); !errors.Is(err, meter.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(a.BaseURL(), "http://")); err == nil {
		t.Error("it still listens")
	}
}

// TestCallsAtOnceAreBounded: a run's tools know its token, and may send what they like.
func TestCallsAtOnceAreBounded(t *testing.T) {
	s := start(t, false)
	a := s.open(t, meter.Run{ID: "run_1", Endpoint: "/v1/task", Caller: caller()})
	other := s.open(t, meter.Run{ID: "run_2", Endpoint: "/v1/task", Caller: caller()})
	var calls sync.WaitGroup
	for range 64 {
		calls.Go(func() {
			_, _, _ = send(t.Context(), a, "POST", "/v1/messages", a.Token(), prompt("true", "claude-haiku-5-5", "hello [[tokens=20 hang-after=3]]"))
		})
	}
	if err := s.upstream.Wait(t.Context(), func(stats simulator.Stats) bool { return stats.Streams == 64 }); err != nil {
		t.Fatal(err)
	}
	body := prompt("false", "claude-haiku-5-5", "hello")
	if status, answer := ask(t, a, "POST", "/v1/messages", body); status != http.StatusTooManyRequests || !strings.Contains(answer, "rate_limit_error") {
		t.Errorf("one more: %d %s", status, answer)
	}
	if status, answer := ask(t, other, "POST", "/v1/messages", body); status != http.StatusOK {
		t.Errorf("another run's: %d %s", status, answer)
	}
	a.End()
	calls.Wait()
	a.Use(meter.Run{ID: "run_3", Endpoint: "/v1/task", Caller: caller()})
	if status, answer := ask(t, a, "POST", "/v1/messages", body); status != http.StatusOK {
		t.Errorf("the next run's: %d %s", status, answer)
	}
}

// TestAPriceThatIsNotKnown makes the run's cost unknown, and what it may cost can't be
// kept with such a model.
func TestAPriceThatIsNotKnown(t *testing.T) {
	s := start(t, false)
	a := s.open(t, meter.Run{ID: "run_1", Endpoint: "/v1/task", Caller: caller()})
	limited := s.open(t, meter.Run{ID: "run_2", Endpoint: "/v1/task", Caller: caller(), MaxCostMicroUSD: 1_000_000})
	body := prompt("true", "claude-new-9", "hello")
	if status, answer := ask(t, a, "POST", "/v1/messages", body); status != 200 {
		t.Errorf("%d %s", status, answer)
	}
	if got := a.Totals(); got.CostMicroUSD != nil || got.Usage.OutputTokens == 0 {
		t.Errorf("%+v", got)
	}
	if status, answer := ask(t, limited, "POST", "/v1/messages", body); status != http.StatusForbidden || limited.Totals().Calls != 0 || limited.Totals().Failure.Param != "model" {
		t.Errorf("%d %s", status, answer)
	}
}

// TestLogin sends the process's own on, and its refusal back; the token never leaves.
func TestLogin(t *testing.T) {
	s := start(t, true)
	a := s.open(t, meter.Run{ID: "run_1", Endpoint: "/v1/task", Caller: caller()})
	env := strings.Join(a.Env(), " ")
	if want := "ANTHROPIC_BASE_URL=" + a.BaseURL() + " ANTHROPIC_CUSTOM_HEADERS=X-Claude-Run: " + a.Token(); env != want {
		t.Errorf("the environment %s", env)
	}
	post := func(words string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "POST", a.BaseURL()+"/v1/messages?beta=true", strings.NewReader(prompt("false", "claude-haiku-5-5", words)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{
			"X-Claude-Run": {a.Token()}, "Authorization": {"Bearer of the login"}, "Anthropic-Beta": {"oauth-2025-04-20"}, "User-Agent": {"claude-cli/2"}, "Cookie": {"c=1"},
		}
		response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		answer, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(answer)
	}
	if status, answer := post("hello"); status != 200 {
		t.Errorf("%d %s", status, answer)
	}
	if status, answer := post("[[error=401]]"); status != http.StatusUnauthorized || !strings.Contains(answer, "authentication_error") {
		t.Errorf("a login that was refused: %d %s", status, answer)
	}
	for _, r := range s.upstream.Requests() {
		h := r.Header
		if h.Get("Authorization") != "Bearer of the login" || h.Get("Anthropic-Beta") != "oauth-2025-04-20" || h.Get("User-Agent") != "claude-cli/2" || h.Get("X-Claude-Run")+h.Get("Cookie")+h.Get("X-Api-Key") != "" {
			t.Errorf("the upstream got %v", h)
		}
	}
}

// TestALongInputIsCounted: what costs too much by its bytes may be cheap by its tokens,
// and what is left is for the answer. It is still held to what the run may cost.
func TestALongInputIsCounted(t *testing.T) {
	s := start(t, false)
	long := strings.Replace(prompt("true", "claude-sonnet-5-5", "hello [[tokens=300]]"), `{`, `{"system":"`+strings.Repeat("word ", 20_000)+`",`, 1)
	const most = 140_000 // the input may cost some 280,000 by its bytes, and 75,000 by its count
	a := s.open(t, meter.Run{ID: "run_1", Endpoint: "/v1/task", Caller: caller(), MaxCostMicroUSD: most})
	for i := 0; ; i++ {
		status, answer := ask(t, a, "POST", "/v1/messages?beta=true", long)
		if status != 200 {
			if got := *a.Totals().CostMicroUSD; i != 2 || got > most || !a.Totals().Exhausted {
				t.Errorf("after %d answers for %d: %d %s", i, got, status, answer)
			}
			break
		}
		if !strings.Contains(answer, `"output_tokens":300`) {
			t.Errorf("the answer was cut: %s", answer)
		}
	}
	var counts []simulator.Request
	for _, r := range s.upstream.Requests() {
		if strings.HasSuffix(r.Path, "count_tokens") {
			counts = append(counts, r)
		}
	}
	if len(counts) != 3 || bytes.Contains(counts[0].Body, []byte("max_tokens")) || counts[0].Query != "beta=true" || len(s.rows(t)) != 3 {
		t.Errorf("counted %d times, rows %+v", len(counts), s.rows(t))
	}
	// What the upstream would add to the input by itself isn't in a count.
	searching := strings.Replace(long, `{`, `{"tools":[{"type":"web_search_20250305","name":"web_search","max_uses":1}],`, 1)
	b := s.open(t, meter.Run{ID: "run_2", Endpoint: "/v1/task", Caller: caller(), MaxCostMicroUSD: most})
	if status, answer := ask(t, b, "POST", "/v1/messages", searching); status != http.StatusPaymentRequired {
		t.Errorf("a search: %d %s", status, answer)
	}
}
