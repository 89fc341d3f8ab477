package protocol

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
)

func TestStrictSchema(t *testing.T) {
	for name, c := range map[string]struct{ schema, want string }{
		"fine as it is": {
			`{"type":"object","properties":{"b":{"type":"string"},"a":{"type":"integer"}},"required":["b","a"],"additionalProperties":false}`,
			`{"type":"object","properties":{"b":{"type":"string"},"a":{"type":"integer"}},"required":["b","a"],"additionalProperties":false}`,
		},
		"objects are closed": {
			`{"type":"object","properties":{"in":{"type":["object","null"],"properties":{},"additionalProperties":true}}}`,
			`{"type":"object","properties":{"in":{"type":["object","null"],"properties":{},"additionalProperties":false}},"additionalProperties":false}`,
		},
		"an object without properties": {`{"type":"object"}`, `{"type":"object","properties":{},"additionalProperties":false}`},
		"a map stays one": {
			`{"type":"object","additionalProperties":{"type":"integer","minimum":1}}`,
			`{"type":"object","additionalProperties":{"type":"integer","description":"{minimum: 1}"}}`,
		},
		"limits become words": {
			`{"type":"array","description":"few","minItems":2,"maxItems":3,"items":{"type":"string","format":"color","maxLength":9}}`,
			`{"type":"array","description":"few\n\n{minItems: 2, maxItems: 3}","items":{"type":"string","description":"{format: \"color\", maxLength: 9}"}}`,
		},
		"what is known stays": {
			`{"$schema":"x","type":"array","minItems":1,"items":{"type":"string","format":"date","pattern":"^2"}}`,
			`{"type":"array","minItems":1,"items":{"type":"string","format":"date","pattern":"^2"}}`,
		},
		"alternatives and references": {
			`{"oneOf":[{"$ref":"#/$defs/a","description":"x"},{"type":"null"}],"$defs":{"a":{"type":"number","maximum":2}}}`,
			`{"anyOf":[{"$ref":"#/$defs/a"},{"type":"null"}],"$defs":{"a":{"type":"number","description":"{maximum: 2}"}}}`,
		},
		"definitions beside the root's reference": {
			`{"$ref":"#/$defs/n","title":"x","$defs":{"n":{"type":"object","properties":{"next":{"$ref":"#/$defs/n"}}}}}`,
			`{"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"next":{"$ref":"#/$defs/n"}},"additionalProperties":false}}}`,
		},
		"names that look like keywords": {
			`{"type":"object","properties":{"minimum":{"type":"string"},"$ref":{"type":"string"}}}`,
			`{"type":"object","properties":{"minimum":{"type":"string"},"$ref":{"type":"string"}},"additionalProperties":false}`,
		},
		"true and false": {
			`{"type":"array","items":true,"allOf":[false]}`, `{"type":"array","items":true,"allOf":[false]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := StrictSchema("schema", jsontext.Value(c.schema))
			if err != nil || string(got) != c.want {
				t.Errorf("got  %s, %v\nwant %s", got, err, c.want)
			}
			again, _, err := StrictSchema("schema", got)
			if err != nil || string(again) != string(got) {
				t.Errorf("a second time: %s, %v", again, err)
			}
		})
	}
}

func TestStrictSchemaMoved(t *testing.T) {
	_, moved, err := StrictSchema("f", jsontext.Value(`{"type":"object","properties":{"a":{"minimum":1,"maximum":2},"b":{"items":{"minimum":1,"format":"x"}}}}`))
	if got := strings.Join(moved, " "); err != nil || got != "minimum maximum format" {
		t.Errorf("moved %q, %v", got, err)
	}
}

func TestStrictSchemaRefuses(t *testing.T) {
	deep := strings.Repeat(`{"items":`, 100) + `{}` + strings.Repeat(`}`, 100)
	for name, schema := range map[string]string{"no object": `[]`, "too deep": deep, "a name twice": `{"type":"string","type":"string"}`} {
		_, _, err := StrictSchema("text.format.schema", jsontext.Value(schema))
		if e := apierror.From(err); err == nil || e.Category != apierror.BadRequest || e.Param != "text.format.schema" || !strings.Contains(e.Message, "text.format.schema") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDescribeSchema(t *testing.T) {
	for name, c := range map[string]struct{ schema, description, want string }{
		"none yet":     {`{"type":"string"}`, `"d"`, `{"description":"d","type":"string"}`},
		"one already":  {`{"description":"x"}`, `"d"`, `{"description":"x"}`},
		"a reference":  {`{"$ref":"#/$defs/a"}`, `"d"`, `{"$ref":"#/$defs/a"}`},
		"nothing":      {`{"type":"string"}`, ``, `{"type":"string"}`},
		"empty schema": {`{}`, `"d"`, `{}`},
	} {
		if got := DescribeSchema(jsontext.Value(c.schema), jsontext.Value(c.description)); string(got) != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func FuzzStrictSchema(f *testing.F) {
	f.Add([]byte(`{"type":"object","properties":{"a":{"oneOf":[{"minimum":1}]}}}`))
	f.Add([]byte(`{"items":[{"format":1}],"minItems":{},"description":7,"x":"\ud83d\ude00"}`))
	f.Fuzz(func(t *testing.T, schema []byte) {
		got, _, err := StrictSchema("schema", schema)
		if err != nil {
			if apierror.From(err).Category != apierror.BadRequest {
				t.Fatal(err)
			}
			return
		}
		if !got.IsValid() {
			t.Fatalf("%s became %s", schema, got)
		}
	})
}
