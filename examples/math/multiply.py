def multiply(a: float, b: float) -> float:
    product = a * b
    print(f"{a} * {b} = {product}")
    return product
