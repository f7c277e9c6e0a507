// The factorial of 0 to 20: 21! does not fit 64 bits.
long long factorial(long long number) {
    if (number < 0 || number > 20) {
        __builtin_trap();
    }
    long long product = 1;
    for (long long factor = 2; factor <= number; factor++) {
        product *= factor;
    }
    return product;
}
