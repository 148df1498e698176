package health

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// message is one protobuf message of the two services.
type message interface {
	marshal() []byte
	// field takes one field; the value is a varint, a fixed64 or bytes, according to the type. Unknown ones are ignored.
	field(n protowire.Number, v value) error
}

// value is a field's value; only the member of its type is set.
type value struct {
	typ    protowire.Type
	number uint64
	bytes  []byte
}

var errWire = errors.New("malformed protobuf message")

// unmarshal gives the fields of a message to it, in the order in which they come: of two values the last one counts.
func unmarshal(b []byte, m message) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("%w: %w", errWire, protowire.ParseError(n))
		}
		b = b[n:]
		v := value{typ: typ}
		switch typ {
		case protowire.VarintType:
			v.number, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			v.number, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			v.bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return fmt.Errorf("%w: %w", errWire, protowire.ParseError(n))
		}
		b = b[n:]
		if err := m.field(num, v); err != nil {
			return err
		}
	}
	return nil
}

// codec carries messages over gRPC. It goes by the name of gRPC's own codec because the bytes are the same.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(message)
	if !ok {
		return nil, fmt.Errorf("%T is no message of the health services", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(m.marshal())}, nil
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(message)
	if !ok {
		return fmt.Errorf("%T is no message of the health services", v)
	}
	return unmarshal(data.Materialize(), m)
}

// sent is what only goes out.
type sent struct{}

func (sent) field(protowire.Number, value) error { return nil }

// received is what only comes in.
type received struct{}

func (received) marshal() []byte { return nil }

// empty is a request without fields, of both services.
type empty struct{ sent }

func (empty) marshal() []byte { return nil }

// deviceID is Levelzero's DeviceId.
type deviceID struct {
	sent
	address string
}

func (d deviceID) marshal() []byte {
	return protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), d.address)
}

// fault is Levelzero's Error, field 42 of every answer. Code 0 is success.
type fault struct {
	received
	description string
	code        uint32
}

func (f *fault) field(n protowire.Number, v value) error {
	switch {
	case n == 1 && v.typ == protowire.BytesType:
		f.description = string(v.bytes)
	case n == 2 && v.typ == protowire.VarintType:
		f.code = uint32(v.number)
	}
	return nil
}

const faultField = 42

// deviceHealth answers GetDeviceHealth.
type deviceHealth struct {
	received
	memoryOK, busOK, socOK bool
	fault                  fault
}

func (d *deviceHealth) field(n protowire.Number, v value) error {
	if n == faultField && v.typ == protowire.BytesType {
		return unmarshal(v.bytes, &d.fault)
	}
	if v.typ != protowire.VarintType {
		return nil
	}
	switch n {
	case 1:
		d.memoryOK = v.number != 0
	case 2:
		d.busOK = v.number != 0
	case 3:
		d.socOK = v.number != 0
	}
	return nil
}

// temperatures answers GetDeviceTemperature, in degrees Celsius; a sensor that is not there reads -999.
type temperatures struct {
	received
	global, gpu, memory float64
	fault               fault
}

func (t *temperatures) field(n protowire.Number, v value) error {
	if n == faultField && v.typ == protowire.BytesType {
		return unmarshal(v.bytes, &t.fault)
	}
	if v.typ != protowire.Fixed64Type {
		return nil
	}
	switch degrees := math.Float64frombits(v.number); n {
	case 1:
		t.global = degrees
	case 2:
		t.gpu = degrees
	case 3:
		t.memory = degrees
	}
	return nil
}

// indices answers GetIntelIndices.
type indices struct {
	received
	list  []uint32
	fault fault
}

func (i *indices) field(n protowire.Number, v value) error {
	switch {
	case n == faultField && v.typ == protowire.BytesType:
		return unmarshal(v.bytes, &i.fault)
	case n == 1 && v.typ == protowire.VarintType:
		i.list = append(i.list, uint32(v.number))
	case n == 1 && v.typ == protowire.BytesType: // packed, as proto3 writes it
		for b := v.bytes; len(b) > 0; {
			number, size := protowire.ConsumeVarint(b)
			if size < 0 {
				return fmt.Errorf("%w: %w", errWire, protowire.ParseError(size))
			}
			i.list, b = append(i.list, uint32(number)), b[size:]
		}
	}
	return nil
}

// devices is xpumd's DeviceHealthResponse: all devices that it knows.
type devices struct {
	received
	list []xpumDevice
}

// xpumDevice is DeviceHealth, as far as it matters: who, and what is wrong.
type xpumDevice struct {
	received
	address string
	domains []domain
}

// domain is HealthStatus: one aspect of a device.
type domain struct {
	received
	name            string
	severity        Severity
	reason, message string
}

func (d *devices) field(n protowire.Number, v value) error {
	if n != 1 || v.typ != protowire.BytesType {
		return nil
	}
	d.list = append(d.list, xpumDevice{})
	return unmarshal(v.bytes, &d.list[len(d.list)-1])
}

func (d *xpumDevice) field(n protowire.Number, v value) error {
	switch {
	case n == 1 && v.typ == protowire.BytesType:
		return unmarshal(v.bytes, &xpumInfo{address: &d.address})
	case n == 2 && v.typ == protowire.BytesType:
		d.domains = append(d.domains, domain{})
		return unmarshal(v.bytes, &d.domains[len(d.domains)-1])
	}
	return nil
}

func (d *domain) field(n protowire.Number, v value) error {
	switch {
	case n == 1 && v.typ == protowire.BytesType:
		d.name = string(v.bytes)
	case n == 2 && v.typ == protowire.VarintType:
		d.severity = Severity(v.number)
	case n == 3 && v.typ == protowire.BytesType:
		d.reason = string(v.bytes)
	case n == 4 && v.typ == protowire.BytesType:
		d.message = string(v.bytes)
	}
	return nil
}

// xpumInfo is DeviceInformation (PciInfo is its field 3) and PciInfo (bdf is its field 1), for the address in them.
type xpumInfo struct {
	received
	address *string
	inPCI   bool
}

func (i *xpumInfo) field(n protowire.Number, v value) error {
	switch {
	case v.typ != protowire.BytesType:
	case i.inPCI && n == 1:
		*i.address = string(v.bytes)
	case !i.inPCI && n == 3:
		return unmarshal(v.bytes, &xpumInfo{address: i.address, inPCI: true})
	}
	return nil
}
