package dashboard

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func page(t *testing.T) http.Handler {
	t.Helper()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	p.Register(mux)
	return mux
}

func get(t *testing.T, h http.Handler, path, encoding string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept-Encoding", encoding)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestIndex(t *testing.T) {
	h := page(t)
	for _, path := range []string{"/dashboard", "/dashboard/", "/dashboard/requests", "/dashboard/tasks/task_1"} {
		w := get(t, h, path, "")
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `<div id="root">`) {
			t.Errorf("%s: %d, %s", path, w.Code, w.Body)
		}
		for name, want := range map[string]string{
			"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
			"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
	}
	r := httptest.NewRequest(http.MethodPost, "/dashboard", nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}

// TestIndexNeedsNothingElse: the page has no script or style inside, which its own
// policy forbids, and all that it names is here.
func TestIndexNeedsNothingElse(t *testing.T) {
	h := page(t)
	html := get(t, h, "/dashboard", "").Body.String()
	for _, forbidden := range []string{"<style", "style=", "onload=", "<script>", "http://", "https://"} {
		if strings.Contains(html, forbidden) {
			t.Errorf("the page has %s inside", forbidden)
		}
	}
	links := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(html, -1)
	if len(links) < 2 {
		t.Fatalf("the page links %v: no script or icon", links)
	}
	for _, link := range links {
		if !regexp.MustCompile(`^/dashboard/assets/[\w-]+-[\w-]{8}\.\w+$`).MatchString(link[1]) {
			t.Errorf("%s is no file of the page whose name changes with what it holds", link[1])
		}
		w := get(t, h, link[1], "")
		if w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Errorf("%s: %d, %d bytes", link[1], w.Code, w.Body.Len())
		}
		if got := w.Header().Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
			t.Errorf("%s: kept by %q", link[1], got)
		}
		if w.Header().Get("Content-Security-Policy") == "" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: without the page's headers", link[1])
		}
	}
}

func TestUnknownAsset(t *testing.T) {
	for _, path := range []string{"/dashboard/assets/else.js", "/dashboard/assets/..%2findex.html"} {
		if w := get(t, page(t), path, ""); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestPackedForThoseWhoTakeIt(t *testing.T) {
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	h, sum := page(t), 0
	for name, a := range p.assets {
		sum += max(len(a.Gzip), 1)
		if a.Gzip == nil {
			continue
		}
		packed, plain := get(t, h, "/dashboard/assets/"+name, "gzip, br"), get(t, h, "/dashboard/assets/"+name, "")
		if packed.Header().Get("Content-Encoding") != "gzip" || plain.Header().Get("Content-Encoding") != "" || packed.Header().Get("Vary") == "" {
			t.Errorf("%s: the wrong one is packed", name)
		}
		r, err := gzip.NewReader(packed.Body)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(r); err != nil || !bytes.Equal(body, plain.Body.Bytes()) {
			t.Errorf("%s: they differ, %v", name, err)
		}
	}
	// What a person on a slow line waits for.
	if limit := 150 << 10; sum > limit {
		t.Errorf("the page is %d bytes packed, more than %d", sum, limit)
	}
}
