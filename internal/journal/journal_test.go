package journal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/internal/journal"
)

func entry(device string) journal.Entry {
	return journal.Entry{
		Time: time.Unix(1, 0).UTC(), Mode: "region", Container: "ns/pod/ctr", Device: device, Function: "d8424dc4a4a3c413f89e433683f9040b",
		Programmed: true, Waited: time.Millisecond, PR: time.Second, Error: "x",
	}
}

func add(t *testing.T, dir string, entries ...journal.Entry) {
	t.Helper()
	for _, e := range entries {
		if err := journal.Append(dir, e); err != nil {
			t.Fatal(err)
		}
	}
}

func next(t *testing.T, r *journal.Reader) []journal.Entry {
	t.Helper()
	entries, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func reader(t *testing.T, dir string) *journal.Reader {
	r := journal.NewReader(dir)
	t.Cleanup(func() { r.Close() })
	return r
}

func TestAReaderSeesWhatIsNewToIt(t *testing.T) {
	dir := t.TempDir()
	early := reader(t, dir)
	if got := next(t, early); len(got) != 0 {
		t.Errorf("without a file: %v", got)
	}
	add(t, dir, entry("a"), entry("b"))
	late := reader(t, dir)
	if d := cmp.Diff([]journal.Entry{entry("a"), entry("b")}, next(t, early)); d != "" {
		t.Error(d)
	}
	if got := next(t, early); len(got) != 0 {
		t.Errorf("again: %v", got)
	}
	add(t, dir, entry("c"))
	for name, r := range map[string]*journal.Reader{"early": early, "late": late} {
		if d := cmp.Diff([]journal.Entry{entry("c")}, next(t, r)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if st, err := os.Stat(filepath.Join(dir, journal.Name)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
}

func TestAJournalThatGrewIsReplacedWithoutLoss(t *testing.T) {
	dir := t.TempDir()
	r := reader(t, dir)
	long := entry("a")
	long.Error = strings.Repeat("e", 3000)
	var got []journal.Entry
	const total = 500
	for i := range total {
		long.Device = fmt.Sprint(i)
		add(t, dir, long)
		if i%70 == 0 {
			got = append(got, next(t, r)...)
		}
		if st, err := os.Stat(filepath.Join(dir, journal.Name)); err != nil || st.Size() > 300<<10 {
			t.Fatalf("the file has %d bytes, %v", st.Size(), err)
		}
	}
	got = append(got, next(t, r)...)
	if len(got) != total {
		t.Fatalf("%d entries of %d", len(got), total)
	}
	for i, e := range got {
		if e.Device != fmt.Sprint(i) {
			t.Fatalf("entry %d is %s", i, e.Device)
		}
	}
}

func TestManyWritersLoseNothing(t *testing.T) {
	dir := t.TempDir()
	r := reader(t, dir)
	add(t, dir, entry("first")) // what is replaced before a reader has ever looked is no news to it
	next(t, r)
	const writers, each = 8, 60
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				e := entry(fmt.Sprintf("%d-%d", w, i))
				e.Error = strings.Repeat("e", 500)
				if err := journal.Append(dir, e); err != nil {
					t.Error(err)
				}
			}
		})
	}
	seen := map[string]int{}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(time.Millisecond):
		}
		for _, e := range next(t, r) {
			seen[e.Device]++
		}
	}
	if len(seen) != writers*each {
		t.Errorf("%d entries of %d", len(seen), writers*each)
	}
	for device, n := range seen {
		if n != 1 {
			t.Errorf("%s came %d times", device, n)
		}
	}
}

func TestWhatIsNoEntryIsLeftOut(t *testing.T) {
	dir := t.TempDir()
	r := reader(t, dir)
	file := filepath.Join(dir, journal.Name)
	write := func(text string) {
		t.Helper()
		f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	write("not JSON\n\n{}\n" + strings.Repeat("x", 2<<20) + "\n")
	if got := next(t, r); len(got) != 1 { // {} is an entry, of which little is known
		t.Errorf("%d entries", len(got))
	}
	add(t, dir, entry("a"))
	if got := next(t, r); len(got) != 1 || got[0].Device != "a" {
		t.Errorf("%+v", got)
	}
	write(`{"device":"ha`) // a writer in the middle
	if got := next(t, r); len(got) != 0 {
		t.Errorf("half a line: %v", got)
	}
	write("lf\"}\n")
	if got := next(t, r); len(got) != 1 || got[0].Device != "half" {
		t.Errorf("%+v", got)
	}
	if err := os.Truncate(file, 0); err != nil {
		t.Fatal(err)
	}
	add(t, dir, entry("b"))
	if got := next(t, r); len(got) != 1 || got[0].Device != "b" {
		t.Errorf("after it was cut: %+v", got)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got := next(t, r); len(got) != 0 {
		t.Errorf("after it was removed: %+v", got)
	}
	add(t, dir, entry("c"))
	if got := next(t, r); len(got) != 1 || got[0].Device != "c" {
		t.Errorf("after it came back: %+v", got)
	}
}

func TestAJournalThatCannotBeWrittenIsAnError(t *testing.T) {
	if err := journal.Append(filepath.Join(t.TempDir(), "nothing"), entry("a")); err == nil {
		t.Error("no error")
	}
	e := entry("a")
	e.Error = strings.Repeat("é", 1<<20)
	dir := t.TempDir()
	r := reader(t, dir)
	add(t, dir, e)
	if got := next(t, r); len(got) != 1 || len(got[0].Error) > 5000 {
		t.Errorf("an endless error: %d entries", len(got))
	}
}
