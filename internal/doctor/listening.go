package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
)

const unixPrefix = "unix:"

// How long something on this machine may take to accept, and to answer.
const (
	dialTimeout   = time.Second
	answerTimeout = 3 * time.Second
)

// running is a service that answers on an address.
type running struct {
	client *http.Client
	base   string
}

// service calls whatever listens on an address. It looks at nothing secret, so it takes
// any certificate: one that is wrong is the check certificate's.
func (in *Installation) service(address string) *running {
	dialer := &net.Dialer{Timeout: dialTimeout}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	r := &running{client: &http.Client{Transport: transport, Timeout: answerTimeout}}
	path, isUnix := strings.CutPrefix(address, unixPrefix)
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		if isUnix {
			return dialer.DialContext(ctx, "unix", path)
		}
		return dialer.DialContext(ctx, "tcp", near(address))
	}
	r.base = "http://service"
	if in.TLSCert != "" && !isUnix {
		r.base = "https://service"
	}
	return r
}

// near is where this machine reaches an address that is listened on.
func near(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// maxAnswer is more than the service's longest answer to these questions.
const maxAnswer = 4 << 20

// get gives the answer to GET path.
func (r *running) get(ctx context.Context, path string) (status int, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+path, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	response, err := r.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return response.StatusCode, body, err
}

// healthAnswer is what GET /health answers.
type healthAnswer struct {
	Status   string  `json:"status"`
	Version  string  `json:"version"`
	Uptime   float64 `json:"uptime_seconds"`
	Services map[string]struct {
		Status string `json:"status"`
		Detail string `json:"detail"`
	} `json:"services"`
}

// health asks whether a service of ours listens there; errAbsent: nothing does.
func (r *running) health(ctx context.Context) (*healthAnswer, error) {
	status, body, err := r.get(ctx, "/health")
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
			return nil, errAbsent
		}
		return nil, err
	}
	answer := &healthAnswer{}
	if err := json.Unmarshal(body, answer); err != nil || status != http.StatusOK || answer.Version == "" || answer.Services == nil {
		return nil, errOther
	}
	return answer, nil
}

var (
	errAbsent = errors.New("nothing listens there")
	errOther  = errors.New("what listens there is another program")
)

// address says for each address whether it is free, or a service is there already.
func address(ctx context.Context, in *Installation) []Finding {
	return each(in.Addresses, func(address string) []Finding {
		answer, err := in.service(address).health(ctx)
		switch {
		case err == nil && answer.Version != in.Program.Version:
			return warn(fmt.Sprintf("%s: the service that runs there is %s, and this program %s", address, answer.Version, in.Program.Version), "restart the service, so that it is this version too")
		case err == nil:
			return okay("%s: the service runs there, for %v", address, (time.Duration(answer.Uptime) * time.Second).Round(time.Second))
		case errors.Is(err, errAbsent):
			return free(ctx, address)
		case errors.Is(err, errOther):
			return fail(address+": "+errOther.Error(), "end it, or listen elsewhere: --listen, --port")
		}
		return fail(fmt.Sprintf("%s: something listens there that doesn't answer: %v", address, err), "see what it is (ss -ltnp, lsof -i); if it is the service, restart it")
	})
}

// free tries to listen, for a moment.
func free(ctx context.Context, address string) []Finding {
	if strings.HasPrefix(address, unixPrefix) {
		return ok(address + ": nothing listens there; the service isn't running")
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	switch {
	case err == nil:
		if err := l.Close(); err != nil {
			return warn(address+": "+err.Error(), "")
		}
		return ok(address + ": free; the service isn't running")
	case errors.Is(err, syscall.EACCES):
		return fail(address+": this user may not listen there", "take a port above 1023: --port, or give the right by socket activation (docs/operations.md)")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fail(address+": this machine has no such address", "name one that it has: --listen")
	}
	return fail(fmt.Sprintf("%s: %v", address, err), "listen elsewhere: --listen, --port")
}

// reach warns of addresses on which others can read keys.
func reach(_ context.Context, in *Installation) []Finding {
	var found []Finding
	for _, address := range in.Addresses {
		host, _, err := net.SplitHostPort(address)
		if err != nil || strings.HasPrefix(address, unixPrefix) {
			continue
		}
		ip := net.ParseIP(host)
		if local := host == "localhost" || ip != nil && ip.IsLoopback(); !local && in.TLSCert == "" {
			found = append(found, warn(address+" can be reached from other machines, and speaks no TLS: whoever is on the way can read keys and prompts", "--tls-cert and --tls-key, or listen on 127.0.0.1 behind a proxy that speaks TLS")...)
		}
	}
	return gather(ok("nobody on the way can read what is said"), found)
}

// How near the end of a certificate is near.
const certificateEnd = 14 * 24 * time.Hour

func certificate(_ context.Context, in *Installation) []Finding {
	if in.TLSCert == "" {
		return skip("no TLS is configured")
	}
	const mend = "name the files of a certificate and of its own key: --tls-cert, --tls-key"
	pair, err := tls.LoadX509KeyPair(in.TLSCert, in.TLSKey)
	if err != nil {
		return fail(err.Error(), mend)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return fail(err.Error(), mend)
	}
	now := time.Now()
	text := fmt.Sprintf("for %s, until %s", strings.Join(namesOf(leaf), ", "), leaf.NotAfter.Format(time.DateOnly))
	switch {
	case now.After(leaf.NotAfter):
		return fail("it has expired: "+text, "renew it; the service reads the files again by itself")
	case now.Before(leaf.NotBefore):
		return fail("it holds only from "+leaf.NotBefore.Format(time.DateTime), "see whether this machine's clock is right, or take the one that holds now")
	case leaf.NotAfter.Sub(now) < certificateEnd:
		return warn("it expires soon: "+text, "renew it; the service reads the files again by itself")
	}
	return ok(text)
}

func namesOf(leaf *x509.Certificate) []string {
	names := append([]string{}, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		names = append(names, "nobody by name (clients will refuse it)")
	}
	return names
}

// socket looks at unix sockets and at where they are.
func socket(_ context.Context, in *Installation) []Finding {
	var found []Finding
	count := 0
	for _, address := range in.Addresses {
		path, isUnix := strings.CutPrefix(address, unixPrefix)
		if !isUnix {
			continue
		}
		count++
		folder := filepath.Dir(path)
		info, err := os.Stat(folder)
		switch {
		case err != nil:
			found = append(found, fail(fmt.Sprintf("the folder of %s: %v", path, err), "mkdir "+folder)...)
			continue
		case info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0:
			found = append(found, fail("everybody may replace what is in "+folder+", the socket too", "put the socket into a folder of the service's own")...)
		}
		info, err = os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			found = append(found, fail(err.Error(), "let the user who runs the service enter "+folder)...)
		case info.Mode().Type() != fs.ModeSocket:
			found = append(found, fail(path+" is there and is no socket", "move it away, or name another path: --listen")...)
		case info.Mode().Perm()&^in.SocketMode != 0:
			found = append(found, fixed(warn(fmt.Sprintf("%s can be used by more users (%04o) than --socket-mode says (%04o)", path, info.Mode().Perm(), in.SocketMode), fmt.Sprintf("chmod %04o %s", in.SocketMode, path)),
				fmt.Sprintf("set the rights of %s to %04o", path, in.SocketMode), func() error { return setRights(path, in.SocketMode) })...)
		}
	}
	if count == 0 {
		return skip("no unix socket is configured")
	}
	return gather(okay("rights %04o", in.SocketMode), found)
}
