import midge
def test_first():
    with midge.Broker() as b:
        assert b.port
        s=b.subscribe("a/#")
        r=b.publish("a/b","x")
        assert r.matched==1
        assert s.get(2).text=="x"
