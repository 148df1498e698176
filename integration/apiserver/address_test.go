package apiserver

import "testing"

func TestClustersHaveAddressesOfTheirOwn(t *testing.T) {
	var all []*loopback
	for range 3 {
		l, err := newLoopback()
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range all {
			if l.services.Overlaps(other.services) || l.apiserver == other.apiserver {
				t.Errorf("two clusters have %v", l.services)
			}
		}
		all = append(all, l)
		if l.services.Contains(l.apiserver.Addr()) || l.services.Contains(l.next()) {
			t.Errorf("the range of Services, %v, holds other addresses", l.services)
		}
		if one, other := l.next(), l.next(); one == other {
			t.Error("an address was given twice")
		}
	}
	for _, l := range all {
		if err := l.release(); err != nil {
			t.Fatal(err)
		}
	}
}
