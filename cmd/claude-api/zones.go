package main

// The time zones of projects are part of the program: containers often have none.
import _ "time/tzdata"
