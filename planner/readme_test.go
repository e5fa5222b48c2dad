package planner_test

import (
	"os"
	"strings"
	"testing"
)

// The plan in the README is one that the planner makes.
func TestReadmePlan(t *testing.T) {
	want, err := os.ReadFile("testdata/retention_edit/plan.txt")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```\n"+string(want)+"```\n") {
		t.Error("the plan in README.md is not testdata/retention_edit/plan.txt; copy it there again")
	}
}
