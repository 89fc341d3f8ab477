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
	"time"

	"github.com/swaggest/swgui/v5/static"

	"claude-code-api-service/internal/asset"
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

// Page serves the document. It is safe for concurrent use.
type Page struct {
	document asset.File
	assets   map[string]asset.File
	made     time.Time
}

// New makes the page of a document in JSON. The error says that the embedded
// files aren't what they should be.
func New(document []byte) (*Page, error) {
	p := &Page{document: asset.File{Kind: "application/json", Body: document}, made: time.Now(), assets: map[string]asset.File{
		"":         {Kind: "text/html; charset=utf-8", Body: page},
		"start.js": {Kind: "text/javascript; charset=utf-8", Body: start},
		"page.css": {Kind: "text/css; charset=utf-8", Body: style},
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
		p.assets[name] = asset.File{Kind: kind, Body: plain, Gzip: packed}
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

func (p *Page) serve(w http.ResponseWriter, r *http.Request, f asset.File) {
	w.Header().Set("Cache-Control", "no-cache")
	f.Serve(w, r, policy, p.made)
}
