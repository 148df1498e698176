package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// texts are the string literals below a node of the syntax, with what is added with + in
// one piece; what is no literal in it is a NUL.
func texts(n ast.Node) []string {
	var all []string
	ast.Inspect(n, func(n ast.Node) bool {
		switch e := n.(type) {
		case *ast.BinaryExpr:
			if s, ok := joined(e); ok {
				all = append(all, s)
			}
		case *ast.BasicLit:
			if s, ok := joined(e); ok {
				all = append(all, s)
			}
		}
		return true
	})
	return all
}

func joined(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			s, err := strconv.Unquote(e.Value)
			return s, err == nil
		}
	case *ast.ParenExpr:
		return joined(e.X)
	case *ast.BinaryExpr:
		x, okX := joined(e.X)
		y, okY := joined(e.Y)
		if e.Op == token.ADD && (okX || okY) {
			if !okX {
				x = "\x00"
			}
			if !okY {
				y = "\x00"
			}
			return x + y, true
		}
	}
	return "", false
}

var verb = regexp.MustCompile(`%[-+# 0-9.\[\]*]*[a-zA-Z]`)

// said are the texts of all programs: of the code that is no test, and of the manifests.
func said(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir():
			switch e.Name() {
			case ".git", "bin", "dist", "docs", "testdata", "integration":
				return fs.SkipDir
			}
		case strings.HasSuffix(path, ".yaml"):
			data, err := os.ReadFile(path)
			b.Write(data)
			return err
		case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, s := range texts(f) {
				b.WriteString(verb.ReplaceAllString(s, "\x00") + "\x00")
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// code is a package's declarations by name, its tests and what has a build tag among them.
type code struct {
	dir   string
	decls map[string][]ast.Node
}

func readCode(dir string) (code, error) {
	c := code{dir: dir, decls: map[string][]ast.Node{}}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return code{}, err
	}
	for _, path := range files {
		// Of code that is under test only what tests are made of counts: of a package of tests, all.
		if !strings.HasSuffix(path, "_test.go") && !strings.Contains(filepath.ToSlash(dir), "/integration") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return code{}, err
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				c.decls[d.Name.Name] = append(c.decls[d.Name.Name], d)
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if v, ok := s.(*ast.ValueSpec); ok {
						for _, name := range v.Names {
							c.decls[name.Name] = append(c.decls[name.Name], v)
						}
					}
				}
			}
		}
	}
	return c, nil
}

// reached are the declarations that a test is made of: its own, and those of its package
// that they name.
func (c code) reached(test string) []ast.Node {
	var nodes []ast.Node
	seen := map[string]bool{}
	var reach func(name string)
	reach = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		for _, d := range c.decls[name] {
			nodes = append(nodes, d)
			ast.Inspect(d, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok {
					reach(id.Name)
				}
				return true
			})
		}
	}
	reach(test)
	return nodes
}

// narrowed are the innermost literals and calls among nodes that hold the name of a case.
func narrowed(nodes []ast.Node, name string) []ast.Node {
	var found []ast.Node
	for _, root := range nodes {
		var stack []ast.Node
		ast.Inspect(root, func(n ast.Node) bool {
			if n == nil {
				stack = stack[:len(stack)-1]
				return true
			}
			stack = append(stack, n)
			lit, ok := n.(*ast.BasicLit)
			if !ok {
				return true
			}
			s, ok := joined(lit)
			if !ok || s != name && strings.ReplaceAll(s, " ", "_") != name {
				return true
			}
			for k := len(stack) - 2; k >= 0; k-- {
				switch e := stack[k].(type) {
				case *ast.KeyValueExpr:
					if e.Key != n { // the case's name is a field of it
						continue
					}
				case *ast.CompositeLit, *ast.CallExpr:
				default:
					continue
				}
				found = append(found, stack[k])
				break
			}
			return true
		})
	}
	return found
}

// expected are the texts that a test, or one case of it, is written with. The second value
// is false if there is no such test or case.
func (c code) expected(test Test) ([]string, bool) {
	nodes := c.reached(test.Function)
	if len(nodes) == 0 {
		return nil, false
	}
	if test.Case == "" {
		return textsOf(nodes), true
	}
	if found := narrowed(nodes, test.Case); len(found) > 0 {
		// A constant that the case names belongs to it.
		for _, n := range found {
			ast.Inspect(n, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok {
					for _, d := range c.decls[id.Name] {
						if v, ok := d.(*ast.ValueSpec); ok {
							found = append(found, v)
						}
					}
				}
				return true
			})
		}
		return textsOf(found), true
	}
	data, err := os.ReadFile(filepath.Join(c.dir, "testdata", filepath.FromSlash(test.Case)))
	return []string{string(data)}, err == nil
}

func textsOf(nodes []ast.Node) []string {
	var all []string
	for _, n := range nodes {
		all = append(all, texts(n)...)
	}
	return all
}
