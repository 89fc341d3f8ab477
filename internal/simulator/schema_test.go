package simulator

import "testing"

func TestGenerate(t *testing.T) {
	for _, test := range []struct{ name, schema, want string }{
		{"nothing said", `{}`, `"a value"`},
		{"const", `{"const":{"b":1,"a":2}}`, `{"a":2,"b":1}`},
		{"enum", `{"enum":[3,4]}`, `3`},
		{"default", `{"type":"integer","default":7}`, `7`},
		{"several types", `{"type":["null","boolean"]}`, `true`},
		{"only null", `{"type":["null"]}`, `null`},
		{"required only", `{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"number"}},"required":["b"]}`, `{"b":1}`},
		{"required without a property", `{"type":"object","required":["x"]}`, `{"x":"a x"}`},
		{"array", `{"type":"array","items":{"type":"integer"},"minItems":3}`, `[1,1,1]`},
		{"type from its members", `{"properties":{"l":{"items":{"type":"null"}}},"required":["l"]}`, `{"l":[null]}`},
		{"bounds", `{"type":"array","items":{"type":"integer","minimum":2.5}}`, `[3]`},
		{"exclusive bounds", `{"type":"integer","exclusiveMinimum":4}`, `5`},
		{"upper bounds", `{"type":"number","maximum":0.5}`, `0.5`},
		{"exclusive upper bounds", `{"type":"number","exclusiveMaximum":-1}`, `-2`},
		{"multiple", `{"type":"integer","minimum":3,"multipleOf":5}`, `5`},
		{"lengths", `{"type":"array","items":{"type":"string","minLength":9,"maxLength":9}}`, `["a valueaa"]`},
		{"short", `{"type":"string","maxLength":3}`, `"a v"`},
		{"formats", `{"type":"object","required":["d","e"],"properties":{"d":{"type":"string","format":"date"},"e":{"type":"string","format":"email"}}}`, `{"d":"2026-01-02","e":"someone@example.com"}`},
		{"choices", `{"anyOf":[{"type":"integer"},{"type":"string"}]}`, `1`},
		{"reference", `{"$defs":{"a/b":{"type":"boolean"}},"$ref":"#/$defs/a~1b"}`, `true`},
		{"lost reference", `{"$ref":"https://example.com/x"}`, `"a value"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, f := generate(nil, []byte(test.schema))
			if f != nil || string(got) != test.want {
				t.Errorf("got %s, fault %+v, want %s", got, f, test.want)
			}
		})
	}
	if _, f := generate(nil, []byte(`[1]`)); f == nil {
		t.Error("a list passed as a schema")
	}
}

func TestGenerateEndsForARecursiveSchema(t *testing.T) {
	for _, schema := range []string{
		`{"type":"object","required":["next"],"properties":{"next":{"$ref":"#"}}}`,
		`{"type":"object","required":["a"],"properties":{"a":{"type":"array","minItems":100,"items":{"$ref":"#"}}}}`,
	} {
		got, f := generate(nil, []byte(schema))
		if f != nil || !validObject(got) || len(got) > 2*maxGenerated {
			t.Errorf("%s: %d bytes, fault %+v", schema, len(got), f)
		}
	}
}
