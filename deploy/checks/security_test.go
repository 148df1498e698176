package checks

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// tables reads the tables of docs/security.md whose first columns are called as given: rows of cells.
func tables(t *testing.T, head ...string) (columns []string, rows [][]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(tree, "docs/security.md"))
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			if inside {
				return columns, rows
			}
			continue
		}
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		switch {
		case !inside:
			inside = len(cells) > len(head) && slices.Equal(cells[:len(head)], head)
			columns = cells
		case strings.HasPrefix(cells[0], "---"):
		default:
			rows = append(rows, cells)
		}
	}
	if !inside {
		t.Fatalf("docs/security.md has no table %q", head)
	}
	return columns, rows
}

var code = regexp.MustCompile("`([^`]+)`")

// words are what a cell has in code.
func words(cell string) []string {
	var found []string
	for _, m := range code.FindAllStringSubmatch(cell, -1) {
		found = append(found, m[1])
	}
	return found
}

// usedFolders is what the containers of one kind of object mount, over all that deploy/ has in its usual places.
func usedFolders(t *testing.T, kind string) map[string]string {
	t.Helper()
	used := map[string]string{} // container folder → access
	for _, p := range pods(t) {
		if !strings.HasPrefix(p.owner, kind) || strings.Contains(p.source, "everything that can be set") || strings.Contains(p.source, "other folders") {
			continue
		}
		folders := map[string]string{}
		for _, v := range p.spec.Volumes {
			if v.HostPath != nil {
				folders[v.Name] = v.HostPath.Path
			}
		}
		for _, c := range p.containers() {
			for _, m := range c.VolumeMounts {
				folder, host := folders[m.Name]
				if !host {
					continue
				}
				access := "write"
				if m.ReadOnly {
					access = "read"
				}
				if want := "/host" + folder; m.MountPath != want && m.MountPath != folder {
					t.Errorf("%s: %s has %s at %s, where no flag's default looks", p.source, c.Name, folder, m.MountPath)
				}
				if folder == "/sys/devices" && access == "write" { // with one component; TestOnlyWhoBindsCanWriteSys
					access = "read; `qat-bind`: write"
				}
				switch old, seen := used[c.Name+" "+folder]; {
				case !seen:
				case strings.HasPrefix(old, access+"; "):
					access = old
				case old != access && !strings.HasPrefix(access, old+"; "):
					t.Errorf("%s: %s may %s %s, elsewhere it may %s", p.source, c.Name, access, folder, old)
				}
				used[c.Name+" "+folder] = access
			}
		}
	}
	return used
}

// explained reads a table with a column for each container.
func explained(t *testing.T, head ...string) map[string]string {
	t.Helper()
	columns, rows := tables(t, head...)
	found := map[string]string{}
	for _, row := range rows {
		for i, cell := range row[1 : len(row)-1] {
			for _, folder := range words(row[0]) {
				if cell != "" {
					found[columns[i+1]+" "+folder] = cell
				}
			}
		}
		if row[len(row)-1] == "" {
			t.Errorf("%s has no reason", row[0])
		}
	}
	return found
}

func TestEveryFolderOfTheHostIsExplained(t *testing.T) {
	for kind, head := range map[string][]string{
		"DaemonSet.apps/": {"folder", "inlay-deviceplugin"},
		"Job.batch/":      {"folder", "uninstall"},
	} {
		if diff := cmp.Diff(explained(t, head...), usedFolders(t, kind)); diff != "" {
			t.Errorf("%s (-docs/security.md +deploy):\n%s", kind, diff)
		}
	}
}

func TestEveryCapabilityIsExplained(t *testing.T) {
	_, rows := tables(t, "process", "runs as")
	used := map[string][]string{}
	for _, p := range pods(t) {
		for _, c := range p.containers() {
			for _, a := range c.SecurityContext.Capabilities.Add {
				if !slices.Contains(used[c.Name], string(a)) {
					used[c.Name] = append(used[c.Name], string(a))
				}
			}
		}
	}
	documented := map[string][]string{}
	for _, row := range rows {
		for _, word := range words(row[1]) {
			name := strings.Fields(row[0])[0]
			documented[name] = append(documented[name], word)
		}
	}
	if diff := cmp.Diff(documented, used); diff != "" {
		t.Errorf("(-docs/security.md +deploy):\n%s", diff)
	}
}

// rights gives the rules of all accounts as the table writes them: "account: verbs of resources called names".
func rights(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for source, objects := range everything(t) {
		if strings.Contains(source, "everything that can be set") { // other names
			continue
		}
		for _, o := range objects {
			var rules []rbacv1.PolicyRule
			switch r := goType(o.GroupVersionKind()).(type) {
			case *rbacv1.ClusterRole:
				if err := decode(o, r); err != nil {
					t.Fatal(err)
				}
				rules = r.Rules
			case *rbacv1.Role:
				if err := decode(o, r); err != nil {
					t.Fatal(err)
				}
				rules = r.Rules
			}
			for _, rule := range rules {
				account := strings.TrimSuffix(o.GetName(), "-certs")
				found[right(account, rule.Verbs, rule.Resources, rule.ResourceNames)] = true
				for _, word := range slices.Concat(rule.Verbs, rule.Resources, rule.APIGroups) {
					if strings.Contains(word, "*") {
						t.Errorf("%s: %s asks for %q", source, id(o), word)
					}
				}
			}
		}
	}
	return found
}

func right(account string, verbs, resources, names []string) string {
	text := account + ": " + strings.Join(verbs, " ") + " of " + strings.Join(resources, " ")
	if len(names) > 0 {
		text += " called " + strings.Join(names, " ")
	}
	return text
}

func TestEveryRightIsExplained(t *testing.T) {
	_, rows := tables(t, "account", "verbs", "of")
	documented := map[string]bool{}
	for _, row := range rows {
		resources, names, _ := strings.Cut(row[2], " called ")
		documented[right(row[0], words(row[1]), words(resources), words(names))] = true
		if slices.Contains(row, "") {
			t.Errorf("%s has no reason", row)
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(documented)), slices.Sorted(maps.Keys(rights(t)))); diff != "" {
		t.Errorf("(-docs/security.md +deploy):\n%s", diff)
	}
}

func TestTheLevelsAreThoseOfTheDocumentation(t *testing.T) {
	_, rows := tables(t, "namespace", "level")
	documented := map[string]string{}
	for _, row := range rows {
		documented[words(row[0])[0]] = words(row[1])[0]
	}
	want := map[string]string{}
	for namespace, level := range levels {
		want[namespace] = string(level)
	}
	if diff := cmp.Diff(want, documented); diff != "" {
		t.Errorf("(-tests +docs/security.md):\n%s", diff)
	}
}

// The token of the nodes' account is in the one container that asks the API server.
func TestTheTokenIsWhereItIsNeeded(t *testing.T) {
	for _, p := range pods(t) {
		if p.spec.AutomountServiceAccountToken == nil && strings.HasPrefix(p.owner, "Deployment.apps/") {
			continue // the webhook has one container, which needs it
		}
		if p.spec.AutomountServiceAccountToken == nil || *p.spec.AutomountServiceAccountToken {
			t.Errorf("%s: %s: every container gets the token", p.source, p.owner)
		}
		for _, v := range p.spec.Volumes {
			if v.Projected == nil {
				continue
			}
			for _, c := range p.containers() {
				has := slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == v.Name })
				if has != (c.Name == "inlay-deviceplugin") {
					t.Errorf("%s: %s: %s has the token: %v", p.source, p.owner, c.Name, has)
				}
			}
		}
	}
}
