package blackbox

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestModesTableNamesStories: each combination has a row, each row names stories that are there and set what the row says, and
// each story of a mode is named.
func TestModesTableNamesStories(t *testing.T) {
	data, err := os.ReadFile("../../docs/addressing-modes.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(data)
	for _, net := range []string{"discovery", "custom"} {
		for _, blocks := range []string{"single", "prefix"} {
			for _, vpc := range []string{"own", "shared"} {
				name := fmt.Sprintf("mode-table-%s-%s-%s", net, blocks, vpc)
				row := fmt.Sprintf("| %s | %s | %s | `%s` | `%s` |", net, blocks, vpc, name, name)
				if !strings.Contains(doc, row) {
					t.Errorf("no row %s", row)
				}
				story, _ := os.ReadFile(filepath.Join("../scripts", name+".txtar"))
				for part, want := range map[string]bool{
					"CUSTOM_NETWORK_CFG=true": net == "custom", "ENABLE_PREFIX_DELEGATION=true": blocks == "prefix", "owner=": vpc == "shared",
					"EXTERNALSNAT=true": true, "tcp pod-1 internet node": true, "tcp pod-1 internet nat-gateway": true, "ping pod-1 b-1": true,
				} {
					if strings.Contains(string(story), part) != want {
						t.Errorf("%s: %q in it must be %t", name, part, want)
					}
				}
			}
		}
	}
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("`((?:mode|subnet)-[a-z-]+)`").FindAllStringSubmatch(doc, -1) {
		named[m[1]] = true
		if _, err := os.Stat(filepath.Join("../scripts", m[1]+".txtar")); err != nil {
			t.Error(err)
		}
	}
	stories, _ := filepath.Glob("../scripts/mode-*.txtar")
	for _, path := range stories {
		if name := strings.TrimSuffix(filepath.Base(path), ".txtar"); !named[name] && name != "mode-prefix" {
			t.Errorf("docs/addressing-modes.md does not name %s", name)
		}
	}
}
