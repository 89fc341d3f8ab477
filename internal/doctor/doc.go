// Package doctor looks at an installation from outside, finds what is wrong with it,
// and says how to mend it.
package doctor
