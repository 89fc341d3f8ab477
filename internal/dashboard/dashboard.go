package dashboard

import (
	"bytes"
	"compress/gzip"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"claude-code-api-service/internal/asset"
)

// Root is where the page is.
const Root = "/dashboard"

// The page as built from web/; `make dashboard` builds it anew.
//
//go:embed dist
var dist embed.FS

// policy lets the page load its own files and talk to this service, nothing else. It
// needs no script or style inside a page: what it sets on elements, it sets through
// the object model.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Page serves the dashboard. It is safe for concurrent use.
type Page struct {
	index  asset.File
	assets map[string]asset.File // by the name below assets/
}

// made is packed once, not for every generation of the configuration.
var made = sync.OnceValues(read)

// New makes the page. The error says that the embedded files aren't what they should
// be.
func New() (*Page, error) { return made() }

func read() (*Page, error) {
	p := &Page{assets: map[string]asset.File{}}
	err := fs.WalkDir(dist, "dist", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		a, err := readAsset(name)
		if err != nil {
			return err
		}
		switch folder, file := path.Split(strings.TrimPrefix(name, "dist/")); {
		case folder == "" && file == "index.html":
			p.index = a
		case folder == "assets/":
			p.assets[file] = a
		default:
			return fmt.Errorf("the dashboard has a file %s, which nothing serves", name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if p.index.Body == nil {
		return nil, errors.New("the dashboard has no index.html")
	}
	return p, nil
}

func readAsset(name string) (asset.File, error) {
	body, err := dist.ReadFile(name)
	if err != nil {
		return asset.File{}, err
	}
	kind := kinds[path.Ext(name)]
	if kind == "" {
		return asset.File{}, fmt.Errorf("the dashboard has a file %s of a kind that isn't known", name)
	}
	a := asset.File{Kind: kind, Body: body}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return asset.File{}, err
	}
	if _, err := w.Write(body); err != nil {
		return asset.File{}, err
	}
	if err := w.Close(); err != nil {
		return asset.File{}, err
	}
	if packed.Len() < len(body) {
		a.Gzip = packed.Bytes()
	}
	return a, nil
}

// kinds are the page's own: a machine's table of types must not change them.
var kinds = map[string]string{ //nolint:gochecknoglobals // never changed
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
}

// Register adds the page, its files, and every address below it that the page itself
// makes something of, to mux.
func (p *Page) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET "+Root, p.serveIndex)
	mux.HandleFunc("GET "+Root+"/{view...}", p.serveIndex)
	mux.HandleFunc("GET "+Root+"/assets/{name}", p.serveAsset)
}

// serveIndex answers with the page itself. It isn't kept by anybody: it names the
// files of this version.
func (p *Page) serveIndex(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	serve(w, r, p.index)
}

// serveAsset answers with a file whose name changes with what it holds.
func (p *Page) serveAsset(w http.ResponseWriter, r *http.Request) {
	a, ok := p.assets[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	serve(w, r, a)
}

func serve(w http.ResponseWriter, r *http.Request, f asset.File) {
	h := w.Header()
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	f.Serve(w, r, policy, time.Time{}) // an embedded file has no time
}
