package capability

import "testing"

// Whatever a file holds, it is read or refused.
func FuzzParse(f *testing.F) {
	f.Add([]byte("---\nname: a\ndescription: Use it when: asked\ntools: Read, Bash(git log:*)\n---\nbody"), true)
	f.Add([]byte("---\nname: [\n---\n"), true)
	f.Add([]byte("---\r\na: &x [*x]\r\n---"), false)
	f.Fuzz(func(t *testing.T, text []byte, whole bool) {
		m, _, err := parse(text, whole)
		if err != nil {
			if m != nil {
				t.Errorf("%v beside %v", m, err)
			}
			return
		}
		for _, name := range m.names("tools") {
			if name == "" {
				t.Error("a tool without a name")
			}
		}
		m.text("description")
		m.flag("hidden")
	})
}
