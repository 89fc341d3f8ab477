// Package asset serves the files that the service's own pages are made of.
package asset

import (
	"bytes"
	"net/http"
	"strings"
	"time"
)

// File is one file of a page. It may be served concurrently.
type File struct {
	Kind string // the media type
	Body []byte
	Gzip []byte // the same, packed; nil: it is sent plain to everybody
}

// Serve answers with the file, under the content policy of its page. Made is when it was
// made, zero where that isn't known. How long it may be kept, the caller has said in the
// header.
func (f File) Serve(w http.ResponseWriter, r *http.Request, policy string, made time.Time) {
	h := w.Header()
	h.Set("Content-Type", f.Kind)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	body := f.Body
	if f.Gzip != nil {
		h.Set("Vary", "Accept-Encoding")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			h.Set("Content-Encoding", "gzip")
			body = f.Gzip
		}
	}
	http.ServeContent(w, r, "", made, bytes.NewReader(body))
}
