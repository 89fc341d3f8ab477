// Package docspage serves the service's OpenAPI document and a page that shows
// it. Everything the page needs is in the binary: nothing is fetched from
// elsewhere.
package docspage

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/swaggest/swgui/v5/static"
)

// The page and what starts Swagger UI in it, a file of its own because the
// content policy allows no script inside a page.
var (
	//go:embed page.html
	page []byte
	//go:embed start.js
	start []byte
	//go:embed page.css
	style []byte
)

// policy lets the page load what comes from this service, and talk to nothing
// else. Swagger UI sets styles on elements and shows icons from data: URLs.
const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// asset is one file of the page.
type asset struct {
	kind string
	body []byte
	gzip []byte // nil: only plain
}

// Page serves the document. It is safe for concurrent use.
type Page struct {
	document asset
	assets   map[string]asset
	made     time.Time
}

// New makes the page of a document in JSON. The error says that the embedded
// files aren't what they should be.
func New(document []byte) (*Page, error) {
	p := &Page{document: asset{kind: "application/json", body: document}, made: time.Now(), assets: map[string]asset{
		"":         {kind: "text/html; charset=utf-8", body: page},
		"start.js": {kind: "text/javascript; charset=utf-8", body: start},
		"page.css": {kind: "text/css; charset=utf-8", body: style},
	}}
	for name, kind := range map[string]string{
		"swagger-ui-bundle.js": "text/javascript; charset=utf-8",
		"swagger-ui.css":       "text/css; charset=utf-8",
	} {
		packed, err := static.FS.ReadFile(name + ".gz")
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		plain, err := unpack(packed)
		if err != nil {
			return nil, fmt.Errorf("unpack %s: %w", name, err)
		}
		p.assets[name] = asset{kind: kind, body: plain, gzip: packed}
	}
	return p, nil
}

func unpack(packed []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// Register adds GET /openapi.json, /docs and the page's files to mux.
func (p *Page) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, p.document) })
	mux.HandleFunc("GET /docs", func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, p.assets[""]) })
	mux.HandleFunc("GET /docs/{name}", func(w http.ResponseWriter, r *http.Request) {
		a, ok := p.assets[r.PathValue("name")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		p.serve(w, r, a)
	})
}

func (p *Page) serve(w http.ResponseWriter, r *http.Request, a asset) {
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache")
	body := a.body
	if a.gzip != nil {
		h.Set("Vary", "Accept-Encoding")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			h.Set("Content-Encoding", "gzip")
			body = a.gzip
		}
	}
	http.ServeContent(w, r, "", p.made, bytes.NewReader(body))
}
