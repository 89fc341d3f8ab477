package simulator

import (
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
)

const (
	// maxDepth ends schemas that refer to themselves, and maxGenerated those
	// that branch while they do.
	maxDepth     = 16
	maxGenerated = 1 << 20
)

// generate appends a JSON value that fits a JSON schema: enum, const and
// default as they are, the required properties of objects, the least number of
// items of arrays, and plain values by type and format. Patterns and
// conditions aren't followed.
func generate(dst, schema []byte) ([]byte, *fault) {
	var root map[string]any
	if err := json.Unmarshal(schema, &root); err != nil {
		return nil, invalid("schema: Input should be a valid JSON schema")
	}
	g := generator{root: root}
	return g.value(dst, root, "value", 0), nil
}

type generator struct{ root map[string]any }

func (g *generator) value(dst []byte, schema map[string]any, name string, depth int) []byte {
	if depth > maxDepth || len(dst) > maxGenerated {
		return append(dst, "null"...)
	}
	if c, ok := schema["const"]; ok {
		return appendValue(dst, c)
	}
	if list, ok := schema["enum"].([]any); ok && len(list) > 0 {
		return appendValue(dst, list[0])
	}
	if v, ok := schema["default"]; ok {
		return appendValue(dst, v)
	}
	if ref, ok := schema["$ref"].(string); ok {
		return g.value(dst, g.resolve(ref), name, depth+1)
	}
	for _, key := range []string{"anyOf", "oneOf", "allOf"} {
		if list, ok := schema[key].([]any); ok && len(list) > 0 {
			if first, ok := list[0].(map[string]any); ok {
				return g.value(dst, first, name, depth+1)
			}
		}
	}
	switch typeOf(schema) {
	case "object":
		return g.object(dst, schema, depth)
	case "array":
		return g.array(dst, schema, name, depth)
	case "integer":
		return strconv.AppendInt(dst, int64(math.Ceil(least(schema))), 10)
	case "number":
		return strconv.AppendFloat(dst, least(schema), 'f', -1, 64)
	case "boolean":
		return append(dst, "true"...)
	case "null":
		return append(dst, "null"...)
	}
	return appendQuote(dst, stringFor(schema, name))
}

// typeOf gives a schema's type: of several the first that isn't null, and what
// its members suggest where there is none.
func typeOf(schema map[string]any) string {
	switch t := schema["type"].(type) {
	case string:
		return t
	case []any:
		for _, one := range t {
			if name, ok := one.(string); ok && name != "null" {
				return name
			}
		}
		return "null"
	}
	if schema["properties"] != nil {
		return "object"
	}
	if schema["items"] != nil {
		return "array"
	}
	return "string"
}

func (g *generator) object(dst []byte, schema map[string]any, depth int) []byte {
	properties, _ := schema["properties"].(map[string]any)
	required, _ := schema["required"].([]any)
	dst = append(dst, '{')
	first := true
	for _, r := range required {
		name, ok := r.(string)
		if !ok {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(appendQuote(dst, name), ':')
		property, _ := properties[name].(map[string]any)
		dst = g.value(dst, property, name, depth+1)
	}
	return append(dst, '}')
}

// maxItems bounds what minItems can ask for.
const maxItems = 100

func (g *generator) array(dst []byte, schema map[string]any, name string, depth int) []byte {
	items, _ := schema["items"].(map[string]any)
	n := 1
	if asked, ok := schema["minItems"].(float64); ok {
		n = int(min(max(asked, 1), maxItems))
	}
	dst = append(dst, '[')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = g.value(dst, items, name, depth+1)
	}
	return append(dst, ']')
}

// least gives a number that the schema's bounds allow: 1 where they do.
func least(schema map[string]any) float64 {
	n := 1.0
	if m, ok := schema["minimum"].(float64); ok {
		n = max(n, m)
	}
	if m, ok := schema["exclusiveMinimum"].(float64); ok && n <= m {
		n = m + 1
	}
	if m, ok := schema["maximum"].(float64); ok {
		n = min(n, m)
	}
	if m, ok := schema["exclusiveMaximum"].(float64); ok && n >= m {
		n = m - 1
	}
	if m, ok := schema["multipleOf"].(float64); ok && m > 0 {
		n = math.Ceil(n/m) * m
	}
	return n
}

// stringFor gives a string of the schema's format and length; where it is free,
// it names the property.
func stringFor(schema map[string]any, name string) string {
	format, _ := schema["format"].(string)
	switch format {
	case "date-time":
		return "2026-01-02T03:04:05Z"
	case "date":
		return "2026-01-02"
	case "time":
		return "03:04:05Z"
	case "email":
		return "someone@example.com"
	case "uri":
		return "https://example.com/"
	case "hostname":
		return "example.com"
	case "ipv4":
		return "192.0.2.1"
	case "ipv6":
		return "2001:db8::1"
	case "uuid":
		return "00000000-0000-4000-8000-000000000000"
	}
	text := "a " + name
	if n, ok := schema["minLength"].(float64); ok && n > float64(len(text)) && n < maxTokens {
		text += strings.Repeat("a", int(n)-len(text))
	}
	if n, ok := schema["maxLength"].(float64); ok && n >= 0 && n < float64(len(text)) {
		text = string(clip([]byte(text), int(n)))
	}
	return text
}

// resolve follows a reference inside the schema, such as #/$defs/Node.
func (g *generator) resolve(ref string) map[string]any {
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil
	}
	at := g.root
	for _, step := range strings.Split(path, "/") {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		next, ok := at[step].(map[string]any)
		if !ok {
			return nil
		}
		at = next
	}
	return at
}

func appendValue(dst []byte, v any) []byte {
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return append(dst, "null"...) // v was decoded from JSON, so this can't be
	}
	return append(dst, b...)
}
