package agent

import (
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

func TestPagesOfThisMachine(t *testing.T) {
	p, folder := policyOf(t, everything, Spec{Tools: []string{"WebFetch"}})
	shell, _ := policyOf(t, everything, Spec{Tools: []string{"WebFetch", "Bash"}})
	for address, want := range map[string]verdict{
		"https://example.com/x": allow, "https://8.8.8.8/": allow, "https://[2606:4700::1111]/": allow, "https://1e100.net": allow,
		"http://127.0.0.1:8006/metrics": deny, "http://localhost/": deny, "http://a.localhost": deny, "http://LOCALHOST.": deny, "http://[::1]/": deny, "http://[::ffff:127.0.0.1]/": deny,
		"http://169.254.169.254/latest/meta-data": deny, "http://10.0.0.1": deny, "http://192.168.1.1": deny, "http://0.0.0.0": deny, "http://[fd00::1]/": deny, "http://[fe80::1%25eth0]/": deny,
		"http://metadata.google.internal": deny, "http://printer.local": deny, "http://router": deny, "http://2130706433": deny, "http://0x7f.1": deny, "http://127.1": deny, "http://0x7f.0x0.0x0.0x1": deny,
		" http://127.0.0.1": deny, "://": deny, "": deny,
	} {
		quoted, err := jsontext.AppendQuote([]byte(`{"url":`), address)
		if err != nil {
			t.Fatal(err)
		}
		u := use{"WebFetch", append(quoted, '}'), folder}
		if got, reason := p.judge(u); got != want {
			t.Errorf("%q: %v %q", address, got, reason)
		}
		if got, _ := shell.judge(u); got != allow {
			t.Errorf("with a shell: %q: %v", address, got)
		}
	}
}
