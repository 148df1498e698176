package buildinfo

import (
	"runtime"
	"testing"
)

func TestABuildAlwaysHasAVersionAndACompiler(t *testing.T) {
	info := Get()
	if info.Version == "" || info.Go != runtime.Version() {
		t.Errorf("Get() = %+v", info)
	}
}

func TestStringNamesTheCommitWhenThereIsOne(t *testing.T) {
	for _, tt := range []struct {
		info Info
		want string
	}{
		{Info{Version: "v1.2.3", Go: "go1.26.8"}, "v1.2.3 (go1.26.8)"},
		{Info{Version: "v1.2.3", Go: "go1.26.8", Commit: "0123456789abcdef"}, "v1.2.3 (commit 0123456789ab, go1.26.8)"},
	} {
		if got := tt.info.String(); got != tt.want {
			t.Errorf("String() = %q, want %q", got, tt.want)
		}
	}
}
