package openapi

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// version is the OpenAPI version of the document.
const version = "3.1.0"

// Content types of bodies.
const (
	JSON        = "application/json"
	EventStream = "text/event-stream"
)

// Operation is one endpoint.
type Operation struct {
	Method, Path string // the path in the form of net/http's patterns: /v1/models/{id}
	ID           string // operationId
	Tag          string // the family that it belongs to
	Summary      string // one line
	Description  string // Markdown
	Public       bool   // needs no key
	Parameters   []Parameter
	Request      *Schema        // nil: no body
	Example      jsontext.Value // of the body; the page offers it for a try
	Responses    []Response
}

// Parameter is one of the URL or the header. Those of the path are required.
type Parameter struct {
	Name, In    string // In: path, query, header
	Description string
	Schema      *Schema
}

// Response is what an endpoint answers under one status. A status may come
// twice, with different content types.
type Response struct {
	Status      int
	Description string
	ContentType string  // "" means JSON where there is a Schema
	Schema      *Schema // nil: no body, or one of no stated shape
	// Headers are those that the answer may have, beside what every answer has. Of a
	// status that comes twice, those of the first one are written.
	Headers []Header
}

// Header is one of an answer.
type Header struct{ Name, Description string }

// Info heads the document.
type Info struct{ Title, Version, Description string }

// Write writes the document. Operations are listed by path; the tags in the
// order in which they first come. An error says that two named schemas differ or
// that an operation comes twice.
func Write(info Info, operations []Operation) ([]byte, error) {
	var out bytes.Buffer
	d := &document{enc: jsontext.NewEncoder(&out, jsontext.Multiline(true)), schemas: map[string]*Schema{}}
	d.writer = &writer{enc: d.enc}
	d.token(jsontext.BeginObject)
	d.text("openapi", version)
	d.object("info", func() {
		d.text("title", info.Title)
		d.text("version", info.Version)
		d.text("description", info.Description)
	})
	d.tags(operations)
	d.paths(operations)
	d.components()
	d.token(jsontext.EndObject)
	return out.Bytes(), d.err
}

type document struct {
	*writer
	enc     *jsontext.Encoder
	schemas map[string]*Schema
	pending []*Schema // named, and not yet written
}

func (d *document) object(name string, members func()) {
	d.token(jsontext.String(name))
	d.token(jsontext.BeginObject)
	members()
	d.token(jsontext.EndObject)
}

func (d *document) array(name string, elements func()) {
	d.token(jsontext.String(name))
	d.token(jsontext.BeginArray)
	elements()
	d.token(jsontext.EndArray)
}

func (d *document) schema(s *Schema) {
	d.do(func() error { return s.write(d.enc, d.named) })
}

func (d *document) named(s *Schema) {
	known, ok := d.schemas[s.Name]
	if !ok {
		d.schemas[s.Name] = s
		d.pending = append(d.pending, s)
	} else if !equal(known, s) {
		d.do(func() error { return fmt.Errorf("two different schemas are named %s", s.Name) })
	}
}

func (d *document) tags(operations []Operation) {
	d.array("tags", func() {
		var seen []string
		for _, o := range operations {
			if slices.Contains(seen, o.Tag) {
				continue
			}
			seen = append(seen, o.Tag)
			d.token(jsontext.BeginObject)
			d.text("name", o.Tag)
			d.token(jsontext.EndObject)
		}
	})
}

func (d *document) paths(operations []Operation) {
	sorted := slices.Clone(operations)
	slices.SortStableFunc(sorted, func(a, b Operation) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method))
	})
	d.object("paths", func() {
		for len(sorted) > 0 {
			n := 1
			for n < len(sorted) && sorted[n].Path == sorted[0].Path {
				n++
			}
			d.object(sorted[0].Path, func() {
				for i, o := range sorted[:n] {
					if i > 0 && sorted[i-1].Method == o.Method {
						d.do(func() error { return fmt.Errorf("%s %s comes twice", o.Method, o.Path) })
					}
					d.object(strings.ToLower(o.Method), func() { d.operation(o) })
				}
			})
			sorted = sorted[n:]
		}
	})
}

func (d *document) operation(o Operation) {
	d.text("operationId", o.ID)
	d.value("tags", []string{o.Tag}, true)
	d.text("summary", o.Summary)
	d.text("description", o.Description)
	if o.Public {
		d.value("security", []string{}, true)
	}
	if len(o.Parameters) > 0 {
		d.array("parameters", func() {
			for _, p := range o.Parameters {
				d.token(jsontext.BeginObject)
				d.text("name", p.Name)
				d.text("in", p.In)
				d.text("description", p.Description)
				d.value("required", true, p.In == "path")
				d.token(jsontext.String("schema"))
				d.schema(p.Schema)
				d.token(jsontext.EndObject)
			}
		})
	}
	if o.Request != nil {
		d.object("requestBody", func() {
			d.value("required", true, true)
			d.content([]Response{{Schema: o.Request}}, o.Example)
		})
	}
	d.object("responses", func() { d.responses(o.Responses) })
}

func (d *document) responses(responses []Response) {
	for i, r := range responses {
		if slices.ContainsFunc(responses[:i], func(former Response) bool { return former.Status == r.Status }) {
			continue
		}
		d.object(strconv.Itoa(r.Status), func() {
			d.text("description", cmp.Or(r.Description, http.StatusText(r.Status)))
			d.headers(r.Headers)
			var same []Response
			for _, other := range responses[i:] {
				if other.Status == r.Status && (other.Schema != nil || other.ContentType != "") {
					same = append(same, other)
				}
			}
			if len(same) > 0 {
				d.content(same, nil)
			}
		})
	}
}

func (d *document) headers(headers []Header) {
	if len(headers) == 0 {
		return
	}
	d.object("headers", func() {
		for _, h := range headers {
			d.object(h.Name, func() {
				d.text("description", h.Description)
				d.token(jsontext.String("schema"))
				d.schema(&Schema{Type: String})
			})
		}
	})
}

func (d *document) content(bodies []Response, example jsontext.Value) {
	d.object("content", func() {
		for _, b := range bodies {
			d.object(cmp.Or(b.ContentType, JSON), func() {
				if b.Schema != nil {
					d.token(jsontext.String("schema"))
					d.schema(b.Schema)
				}
				d.value("example", example, example != nil)
			})
		}
	})
}

// components writes the named schemas, and both ways in which a key is
// presented.
func (d *document) components() {
	d.object("components", func() {
		d.object("schemas", func() {
			for len(d.pending) > 0 {
				s := d.pending[0]
				d.pending = d.pending[1:]
				d.token(jsontext.String(s.Name))
				d.do(func() error { return s.writeOut(d.enc, d.named) })
			}
		})
		d.object("securitySchemes", func() {
			d.object("apiKey", func() {
				d.text("type", "apiKey")
				d.text("in", "header")
				d.text("name", "x-api-key")
			})
			d.object("bearer", func() {
				d.text("type", "http")
				d.text("scheme", "bearer")
			})
		})
	})
	d.value("security", []map[string][]string{{"bearer": {}}, {"apiKey": {}}}, true)
}
