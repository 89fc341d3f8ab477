package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/postgres/pgtest"
	"claude-code-api-service/internal/usage"
)

// TestRevocationReachesEveryNode has two nodes that know a key, and revokes it on
// a third: they hear of it, and where they don't, they ask.
func TestRevocationReachesEveryNode(t *testing.T) {
	for name, tt := range map[string]struct {
		listens  bool
		interval time.Duration
	}{
		"heard": {listens: true, interval: time.Hour},
		"asked": {interval: time.Second},
	} {
		t.Run(name, func(t *testing.T) { revokeElsewhere(t, tt.listens, tt.interval) })
	}
}

func revokeElsewhere(t *testing.T, listens bool, interval time.Duration) {
	address := pgtest.Database(t)
	keys := apikey.NewKeys(apikey.Options{Store: openURL(t, address)})
	ctx, stop := context.WithCancel(t.Context())
	var watches sync.WaitGroup
	var nodes []*apikey.Authenticator
	for range 2 {
		db := openURL(t, address)
		node := apikey.NewAuthenticator(apikey.AuthenticatorOptions{Store: db, Interval: interval})
		if listens {
			listening := make(chan struct{})
			greeted := sync.OnceFunc(func() { close(listening) })
			t.Cleanup(db.Subscribe(apikey.Channel, func(string) { node.Look(); greeted() }))
			<-listening
		}
		watches.Go(func() { node.Watch(ctx) })
		nodes = append(nodes, node)
	}
	defer watches.Wait()
	defer stop()
	var all []time.Duration
	for range 3 {
		text, key, err := keys.Create(t.Context(), apikey.Create{ProjectID: "p"})
		if err != nil {
			t.Fatal(err)
		}
		for i, node := range nodes {
			if caller, err := node.Authenticate(t.Context(), text, ""); err != nil || caller.KeyID != key.ID {
				t.Fatalf("node %d and a new key: %+v, %v", i, caller, err)
			}
		}
		if _, err := keys.Revoke(t.Context(), key.ID); err != nil {
			t.Fatal(err)
		}
		revoked := time.Now()
		for i, node := range nodes {
			eventually(t, "the key is refused", func() bool {
				_, err := node.Authenticate(t.Context(), text, "")
				return err != nil
			})
			took := time.Since(revoked)
			if all = append(all, took); took > 2*time.Second {
				t.Errorf("node %d refused the key only %v after its revocation", i, took)
			}
		}
	}
	t.Logf("refused after %v", all)
}

// TestNodesRecordAtOnce lets two nodes record for the same keys and projects: no
// row and no sum is lost, and none of them ever waits for the other in a circle.
func TestNodesRecordAtOnce(t *testing.T) {
	address := pgtest.Database(t)
	const nodes, callers, each = 2, 8, 40
	var wg sync.WaitGroup
	var ledgers []*usage.Ledger
	for n := range nodes {
		ledger := usage.NewLedger(usage.Options{Store: openURL(t, address), Batch: 5})
		ledgers = append(ledgers, ledger)
		for c := range callers {
			wg.Go(func() {
				for i := range each {
					cost, who := int64(7), (i+c*n)%callers // each node in another order
					err := ledger.Record(t.Context(), gateway.Entry{
						RequestID: fmt.Sprintf("%d.%d.%d", n, c, i), Time: time.Unix(1_800_000_000, 0), Status: 200,
						Caller: &gateway.Caller{KeyID: fmt.Sprint("key_", who), ProjectID: fmt.Sprint("p", who%3)},
						Result: gateway.Result{Summary: message.Summary{Model: "m", Usage: message.Usage{InputTokens: 3, OutputTokens: 4}}, CostMicroUSD: &cost},
					})
					if err != nil {
						t.Errorf("Record: %v", err)
					}
				}
			})
		}
	}
	wg.Wait()
	for _, ledger := range ledgers {
		if err := ledger.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	db := openURL(t, address)
	rows, err := db.ListUsage(t.Context(), 0, 10_000, usage.Filter{})
	if err != nil || len(rows) != nodes*callers*each {
		t.Errorf("%d rows, %v; want %d", len(rows), err, nodes*callers*each)
	}
	sums, err := db.SumUsage(t.Context(), usage.Filter{})
	total := usage.Total{}
	for i := range sums {
		total.Add(&sums[i])
	}
	want := usage.Total{Requests: nodes * callers * each, Usage: message.Usage{InputTokens: 3 * nodes * callers * each, OutputTokens: 4 * nodes * callers * each}, CostMicroUSD: 7 * nodes * callers * each}
	if err != nil || total != want {
		t.Errorf("the sums are %+v, %v; want %+v", total, err, want)
	}
	var spent budget.Amount
	for p := range 3 {
		amount, err := db.Spent(t.Context(), budget.Owner{Kind: budget.Project, ID: fmt.Sprint("p", p)}, budget.Total, time.Unix(0, 0).UTC())
		if err != nil {
			t.Fatal(err)
		}
		spent = spent.Add(amount)
	}
	if spent != (budget.Amount{Tokens: 7 * nodes * callers * each, MicroUSD: want.CostMicroUSD}) {
		t.Errorf("the projects have spent %+v", spent)
	}
	if deadlocks := question[int](t, connect(t, address), "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"); deadlocks != 0 {
		t.Errorf("%d deadlocks", deadlocks)
	}
}

// TestCrashOfTheServer stops the server as `pg_ctl stop -m immediate` does: what
// was stored is there afterwards, and the same DB works again.
func TestCrashOfTheServer(t *testing.T) {
	// What an operator may have set: a commit is waited for all the same.
	server := pgtest.Start(t, "synchronous_commit=off")
	db := openURL(t, server.Database(t))
	const rows = 50
	for n := range rows {
		if err := db.AppendUsage(t.Context(), []usage.Row{{RequestID: fmt.Sprint(n)}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := server.Crash(); err != nil {
		t.Fatal(err)
	}
	if err := db.AppendUsage(t.Context(), []usage.Row{{RequestID: "lost"}}, nil); err == nil {
		t.Error("stored without a server")
	}
	if _, err := db.KeysVersion(t.Context()); err == nil {
		t.Error("an answer without a server")
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	list, err := db.ListUsage(t.Context(), 0, 1000, usage.Filter{})
	if err != nil || len(list) != rows {
		t.Errorf("%d rows, %v; want %d", len(list), err, rows)
	}
	if err := db.AppendUsage(t.Context(), []usage.Row{{RequestID: "again"}}, nil); err != nil {
		t.Errorf("after the server's return: %v", err)
	}
}

// TestOneFailureTellsOfARestart restarts the server while all connections wait for
// work: the first statement fails, none after it.
func TestOneFailureTellsOfARestart(t *testing.T) {
	server := pgtest.Start(t, "fsync=off")
	db := openURL(t, server.Database(t))
	all := func() (failures int) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for range 8 {
			wg.Go(func() {
				_, err := db.KeysVersion(t.Context())
				_, listErr := db.ListKeys(t.Context())
				if err != nil || listErr != nil {
					mu.Lock()
					defer mu.Unlock()
					failures++
				}
			})
		}
		wg.Wait()
		return failures
	}
	if failures := all(); failures != 0 { // makes the connections
		t.Fatalf("%d failures", failures)
	}
	if err := errors.Join(server.Crash(), server.Start()); err != nil {
		t.Fatal(err)
	}
	_, first := db.KeysVersion(t.Context())
	if failures := all(); failures != 0 {
		t.Errorf("%d statements failed after the first one, which said %v", failures, first)
	}
}

// swamp passes connections on to a server until it is frozen: then it takes
// everything and gives nothing, as a network that lost its way does.
type swamp struct {
	listener net.Listener
	target   string
	frozen   chan struct{} // closed: nothing passes
	cut      chan struct{} // closed: all connections end
	tasks    sync.WaitGroup
}

func newSwamp(t *testing.T, address string) (*swamp, string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &swamp{listener: listener, target: u.Host, frozen: make(chan struct{}), cut: make(chan struct{})}
	s.tasks.Go(s.accept)
	t.Cleanup(func() {
		listener.Close()
		s.tasks.Wait()
	})
	u.Host = listener.Addr().String()
	return s, u.String()
}

func (s *swamp) accept() {
	for {
		near, err := s.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", s.target)
		if err != nil {
			near.Close()
			continue
		}
		var pair sync.WaitGroup
		pair.Go(func() { s.pass(far, near) })
		pair.Go(func() { s.pass(near, far) })
		s.tasks.Go(func() {
			ended := make(chan struct{})
			go func() { pair.Wait(); close(ended) }()
			select {
			case <-ended:
			case <-s.cut:
			}
			near.Close()
			far.Close()
			<-ended
		})
	}
}

func (s *swamp) pass(to, from net.Conn) {
	buffer := make([]byte, 4096)
	for {
		n, err := from.Read(buffer)
		select {
		case <-s.frozen:
			_, _ = io.Copy(io.Discard, from) // until its end
			return
		default:
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			_ = to.(*net.TCPConn).CloseWrite() // it may be closed already
			return
		}
	}
}

// TestASwallowingNetworkHoldsNobody asks with little patience: the answer, that
// there is none, comes in time.
func TestASwallowingNetworkHoldsNobody(t *testing.T) {
	swamp, address := newSwamp(t, pgtest.Database(t))
	db := openURL(t, address)
	if _, err := db.KeysVersion(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer close(swamp.cut) // before the database is closed, which would say goodbye for long
	close(swamp.frozen)
	for _, ask := range []func(ctx context.Context) error{
		func(ctx context.Context) error { _, err := db.KeysVersion(ctx); return err },
		func(ctx context.Context) error { return db.AppendUsage(ctx, []usage.Row{{}}, nil) },
		func(ctx context.Context) error { _, err := db.ListKeys(ctx); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		began := time.Now()
		err := ask(ctx)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*time.Second {
			t.Errorf("%v after %v, want the end of patience after 0.2 s", err, time.Since(began))
		}
		if err != nil && strings.Contains(err.Error(), "planted") {
			t.Errorf("the password is in %v", err)
		}
	}
}
