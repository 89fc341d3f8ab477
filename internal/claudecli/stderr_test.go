package claudecli

import (
	"strings"
	"testing"
)

func TestWhatTheLogQuotesOfStandardError(t *testing.T) {
	const key = "sk-ant-0123456789"
	for _, test := range []struct {
		name  string
		wrote []string
		want  string
	}{
		{"nothing", nil, ""},
		{"a line", []string{"it ", "failed\n"}, "it failed"},
		{"a secret", []string{"key sk-ant-01234", "56789 refused, value-of-the-operator too"}, "key [redacted] refused, [redacted] too"},
		{"a short value", []string{"yes, yes"}, "yes, yes"},
		{"only the end", []string{strings.Repeat("x", 10*quotedStderr) + key + " end"}, strings.Repeat("x", quotedStderr-len("[redacted] end")) + "[redacted] end"},
		// What was dropped took the secret's beginning with it.
		{"a secret that is cut", []string{key, strings.Repeat("\n", keptStderr-len(key)+1)}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := Options{APIKey: key, Env: []string{"A=value-of-the-operator", "B=yes"}}
			r := newRing(o.secrets())
			for _, text := range test.wrote {
				if n, err := r.Write([]byte(text)); n != len(text) || err != nil {
					t.Fatal(n, err)
				}
			}
			if got := r.String(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if len(r.data) > keptStderr {
				t.Errorf("%d bytes are kept", len(r.data))
			}
		})
	}
}
