package confine

import (
	"os/exec"
	"testing"
)

// BenchmarkStart runs a program that ends at once, as it is and confined, by turns.
func BenchmarkStart(b *testing.B) {
	rules := Rules{Run: everyProgram}
	rules.Add(Machine())
	b.Run("free", func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command("/bin/true").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("confined", func(b *testing.B) {
		for b.Loop() {
			cmd := exec.Command("/bin/true")
			done, err := apply(cmd, always(rules))
			if err != nil {
				b.Fatal(err)
			}
			if err := cmd.Run(); err != nil {
				b.Fatal(err)
			}
			done()
		}
	})
}
