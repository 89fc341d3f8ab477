package docspage

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, mux *http.ServeMux, path, encoding string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept-Encoding", encoding)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w
}

func TestPage(t *testing.T) {
	p, err := New([]byte(`{"openapi":"3.1.0"}`))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	p.Register(mux)
	if w := get(t, mux, "/openapi.json", ""); w.Code != 200 || w.Body.String() != `{"openapi":"3.1.0"}` || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("document: %d %s", w.Code, w.Body)
	}
	html := get(t, mux, "/docs", "").Body.String()
	links := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(html, -1)
	if len(links) < 5 {
		t.Fatalf("the page links %v", links)
	}
	for _, link := range links {
		if link[1] == "data:," {
			continue
		}
		if !strings.HasPrefix(link[1], "/") {
			t.Errorf("the page needs %s, which isn't here", link[1])
		}
		w := get(t, mux, link[1], "")
		if w.Code != 200 || w.Body.Len() == 0 || w.Header().Get("Content-Security-Policy") == "" {
			t.Errorf("%s: %d, %d bytes", link[1], w.Code, w.Body.Len())
		}
	}
	if strings.Contains(html, "<script>") || strings.Contains(html, "onload=") {
		t.Error("the page has a script inside, which its own policy forbids")
	}
}

func TestPackedFilesForThoseWhoTakeThem(t *testing.T) {
	p, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	p.Register(mux)
	packed, plain := get(t, mux, "/docs/swagger-ui.css", "gzip, br"), get(t, mux, "/docs/swagger-ui.css", "")
	if packed.Header().Get("Content-Encoding") != "gzip" || plain.Header().Get("Content-Encoding") != "" {
		t.Error("the wrong one is packed")
	}
	if body, err := unpack(packed.Body.Bytes()); err != nil || string(body) != plain.Body.String() {
		t.Errorf("they differ, %v", err)
	}
	if w := get(t, mux, "/docs/else.js", ""); w.Code != 404 {
		t.Errorf("an unknown file: %d", w.Code)
	}
}
