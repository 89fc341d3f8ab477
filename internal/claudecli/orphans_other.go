//go:build !linux

package claudecli

func endMarked([]string) []int { return nil }

func endChildren(int) bool { return false }
