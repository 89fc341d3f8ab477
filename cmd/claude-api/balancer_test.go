package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// nodeHeader says which node an answer came from.
const nodeHeader = "X-Test-Node"

// balancer stands in front of nodes as an operator's does: in turn, without those whose /ready
// isn't 200 or that refuse a connection. It sends a request to another node only when it wasn't
// sent to the first.
type balancer struct {
	*httptest.Server
	mu    sync.Mutex
	nodes []*backend
	next  int
	end   context.CancelFunc
	watch sync.WaitGroup
}

// backend is one node.
type backend struct {
	name, url string
	transport *http.Transport
	ready     bool // guarded by the balancer's lock
}

func newBalancer(t testing.TB) *balancer {
	t.Helper()
	b := &balancer{}
	b.Server = httptest.NewServer(b)
	ctx, end := context.WithCancel(context.Background())
	b.end = end
	b.watch.Go(func() { b.check(ctx) })
	t.Cleanup(func() {
		end()
		b.watch.Wait()
		b.Close()
		for _, n := range b.nodes {
			n.transport.CloseIdleConnections()
		}
	})
	return b
}

// add puts a node in, in place of the one of the same name.
func (b *balancer) add(name, url string) {
	b.remove(name)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.nodes = append(b.nodes, &backend{name: name, url: url, transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}})
}

func (b *balancer) remove(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, n := range b.nodes {
		if n.name == name {
			n.transport.CloseIdleConnections()
			b.nodes = append(b.nodes[:i:i], b.nodes[i+1:]...)
			return
		}
	}
}

// count is how many nodes are in service.
func (b *balancer) count() (ready int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.nodes {
		if n.ready {
			ready++
		}
	}
	return ready
}

// check asks all nodes whether they are ready, until ctx ends.
func (b *balancer) check(ctx context.Context) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		b.mu.Lock()
		nodes := append([]*backend(nil), b.nodes...)
		b.mu.Unlock()
		for _, n := range nodes {
			ready := false
			if r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+"/ready", nil); err == nil {
				if response, err := client.Do(r); err == nil {
					ready = response.StatusCode == http.StatusOK
					_ = response.Body.Close()
				}
			}
			b.set(n, ready)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (b *balancer) set(n *backend, ready bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n.ready = ready
}

// choose gives the next node in service; nil: there is none.
func (b *balancer) choose() *backend {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range b.nodes {
		b.next++
		if n := b.nodes[b.next%len(b.nodes)]; n.ready {
			return n
		}
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller has left
	}
	for {
		n := b.choose()
		if n == nil {
			http.Error(w, "no node is ready", http.StatusServiceUnavailable)
			return
		}
		out, err := http.NewRequestWithContext(r.Context(), r.Method, n.url+r.URL.RequestURI(), bytes.NewReader(body))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		out.Header = r.Header.Clone()
		response, err := n.transport.RoundTrip(out) //nolint:bodyclose // pass closes it
		var network *net.OpError
		if errors.As(err, &network) && network.Op == "dial" {
			b.set(n, false)
			continue
		}
		w.Header().Set(nodeHeader, n.name)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		pass(w, response)
		return
	}
}

// pass gives an answer on as it comes. One that breaks off breaks off here too.
func pass(w http.ResponseWriter, response *http.Response) {
	defer func() { _ = response.Body.Close() }()
	for name, values := range response.Header {
		if name != "Connection" {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(response.StatusCode)
	buffer, flush := make([]byte, 32<<10), http.NewResponseController(w)
	for {
		n, err := response.Body.Read(buffer)
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return
			}
			_ = flush.Flush()
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}
