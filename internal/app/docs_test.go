package app

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// TestTheDocumentDescribesWhatIsServed holds /openapi.json against the
// specification, its examples against its schemas, and its paths against the
// routes.
func TestTheDocumentDescribesWhatIsServed(t *testing.T) {
	a, _ := running(t)
	body := fetch(t, a.URL()+"/openapi.json")
	document, err := openapi3.NewLoader().LoadFromData([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if err := document.Validate(t.Context(), openapi3.EnableExamplesValidation()); err != nil {
		t.Error(err)
	}
	for path, item := range document.Paths.Map() {
		for method, operation := range item.Operations() {
			request, err := http.NewRequestWithContext(t.Context(), method, a.URL()+strings.NewReplacer("{", "", "}", "").Replace(path), http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			public := operation.Security != nil && len(*operation.Security) == 0
			if unknown := response.StatusCode == 404 || response.StatusCode == 405; unknown || !public && response.StatusCode != 401 {
				t.Errorf("%s %s without a key: %d, public: %t", method, path, response.StatusCode, public)
			}
			if !strings.Contains(fetch(t, a.URL()+"/"), method+" "+path) {
				t.Errorf("GET / doesn't list %s %s", method, path)
			}
		}
	}
	if len(document.Paths.Map()) < 20 {
		t.Errorf("only %d paths", len(document.Paths.Map()))
	}
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d, %v", url, response.StatusCode, err)
	}
	return string(body)
}
