package protocol_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/protocol"
)

func nested(levels int) string {
	return strings.Repeat(`{"a":[`, levels/2) + strings.Repeat("]}", levels/2)
}

func TestShallow(t *testing.T) {
	brackets := strings.Repeat("[{", 500)
	for _, tt := range []struct {
		name, doc string
		ok        bool
	}{
		{"nothing", "", true},
		{"the deepest", nested(200), true},
		{"one too deep", nested(202), false},
		{"never closed", brackets, false},
		{"many side by side", `{"a":[` + strings.Repeat("[],{},", 1000) + "[]]}", true},
		{"in a string", `{"a":"` + brackets + `"}`, true},
		{"behind an escaped quote", `{"a":"\"` + brackets + `"}`, true},
		{"behind an escaped backslash", `{"a":"\\",` + brackets, false},
		{"behind two of them", `{"a":"\\\\",` + brackets, false},
		{"in a string without an end", `{"a":"` + brackets, true},
		{"in a string that ends with an escape", `{"a":"` + brackets + `\`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := protocol.Shallow([]byte(tt.doc))
			if (err == nil) != tt.ok {
				t.Fatalf("err = %v", err)
			}
			if e := apierror.From(err); err != nil && e.Status() != http.StatusBadRequest {
				t.Errorf("status %d", e.Status())
			}
		})
	}
}

// FuzzShallow holds the count against a decoder's.
func FuzzShallow(f *testing.F) {
	f.Add([]byte(nested(202)))
	f.Add([]byte(`{"a":"\"[","b":[]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		d := jsontext.NewDecoder(strings.NewReader(string(doc)))
		deepest := 0
		for {
			if _, err := d.ReadToken(); err != nil {
				break
			}
			deepest = max(deepest, d.StackDepth())
		}
		if err := protocol.Shallow(doc); deepest > 200 && err == nil {
			t.Errorf("%d levels were let through", deepest)
		} else if jsontext.Value(doc).IsValid() && deepest <= 200 && err != nil {
			t.Errorf("%d levels were refused", deepest)
		}
	})
}

func TestReadBodyRefusesDeepNesting(t *testing.T) {
	for _, length := range []int64{-1, 0} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(nested(9_000)))
		if length < 0 {
			r.ContentLength = -1
		}
		if _, err := protocol.ReadBody(httptest.NewRecorder(), r, 0); err == nil || apierror.From(err).Status() != http.StatusBadRequest {
			t.Errorf("err = %v", err)
		}
	}
}

func BenchmarkShallow(b *testing.B) {
	doc := []byte(`{"messages":[` + strings.Repeat(`{"role":"user","content":"`+strings.Repeat("text ", 50)+`"},`, 300) + "{}]}")
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		if protocol.Shallow(doc) != nil {
			b.Fatal("refused")
		}
	}
}
